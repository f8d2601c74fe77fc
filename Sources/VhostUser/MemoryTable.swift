internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// Checks what a front end says its memory is (design, "Host memory is not ours").
enum MemoryTable {
    static let slotLimit = 64

    static func parse(_ message: VhostUserMessage) throws(VhostUserError) -> [MemoryGrant] {
        guard let count = ByteLayout.load(UInt32.self, from: message.payload),
            Int(count) <= slotLimit,
            message.payload.count >= 8 + Int(count) * MemoryLayout<vhost_user_memory_region>.size
        else { throw VhostUserError("memory table with more than \(slotLimit) regions") }
        guard message.descriptors.count == Int(count) else {
            throw VhostUserError(
                "memory table of \(count) regions with \(message.descriptors.count) descriptors")
        }
        var grants: [MemoryGrant] = []
        for (index, file) in message.descriptors.enumerated() {
            let offset = 8 + index * MemoryLayout<vhost_user_memory_region>.size
            guard
                let region = ByteLayout.load(
                    vhost_user_memory_region.self, from: message.payload, at: offset)
            else { throw VhostUserError("memory table ends in region \(index)") }
            grants.append(try grant(region, file))
        }
        return try check(grants)
    }

    static func parseSingle(_ message: VhostUserMessage) throws(VhostUserError) -> MemoryGrant {
        let region = try message.regionAfterPadding()
        guard message.descriptors.count == 1, let file = message.descriptors.first else {
            throw VhostUserError("ADD_MEM_REG without one descriptor")
        }
        return try grant(region, file)
    }

    private static func grant(
        _ region: vhost_user_memory_region, _ file: SharedDescriptor
    ) throws(VhostUserError) -> MemoryGrant {
        let name = "memory region at 0x\(String(region.guest_address, radix: 16))"
        guard let byteCount = file.sharedMemoryByteCount else {
            throw VhostUserError(
                "\(name) must be a memfd, tmpfs or hugetlbfs file, not \(file.kindName); start the "
                    + "VMM with a shared memory backend")
        }
        let (end, overflow) = region.mmap_offset.addingReportingOverflow(region.size)
        guard !overflow, region.size > 0, end <= byteCount else {
            throw VhostUserError(
                "\(name) needs \(end) bytes of its file, which has \(byteCount)")
        }
        guard !region.guest_address.addingReportingOverflow(region.size).overflow,
            !region.user_address.addingReportingOverflow(region.size).overflow
        else { throw VhostUserError("\(name) runs past the end of the address space") }
        return MemoryGrant(
            guestAddress: region.guest_address, byteCount: region.size,
            userAddress: region.user_address, fileOffset: region.mmap_offset, file: file)
    }

    /// A region that another process has checked once: its file is still one that may be mapped.
    static func check(kept grant: MemoryGrant) throws(VhostUserError) {
        _ = try Self.grant(
            vhost_user_memory_region(
                guest_address: grant.guestAddress, size: grant.byteCount,
                user_address: grant.userAddress, mmap_offset: grant.fileOffset), grant.file)
    }

    /// Regions must not overlap in the guest's address space.
    static func check(_ grants: [MemoryGrant]) throws(VhostUserError) -> [MemoryGrant] {
        guard grants.count <= slotLimit else {
            throw VhostUserError("more than \(slotLimit) memory regions")
        }
        let sorted = grants.sorted { $0.guestAddress < $1.guestAddress }
        for (lower, upper) in zip(sorted, sorted.dropFirst())
        where lower.guestAddress + lower.byteCount > upper.guestAddress {
            throw VhostUserError(
                "memory regions overlap at 0x\(String(upper.guestAddress, radix: 16))")
        }
        return grants
    }
}
