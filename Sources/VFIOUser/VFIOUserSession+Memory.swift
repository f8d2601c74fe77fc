internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// DMA_MAP and DMA_UNMAP (design, "Host memory is not ours").
extension VFIOUserSession {
    mutating func mapMemory(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let request = try message.structure(vfio_user_dma_map.self)
        let range = try Self.memoryRange(request)
        guard message.descriptors.count <= 1 else {
            throw VFIOUserError(
                ErrorNumber.invalid, "a region with \(message.descriptors.count) descriptors")
        }
        let name = "memory region at 0x\(String(request.address, radix: 16))"
        guard !overlaps(range) else {
            throw VFIOUserError(ErrorNumber.exists, "\(name) overlaps one that is there")
        }
        guard state.memory.count + state.unreachable.count < Self.regionLimit else {
            throw VFIOUserError(
                ErrorNumber.noSpace, "\(name) is one more than \(Self.regionLimit)")
        }
        if let file = message.descriptors.first {
            try Self.check(file, request, name)
        }
        let needed = UInt32(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITABLE)
        if let file = message.descriptors.first, request.flags == needed {
            state.memory.append(
                MemoryGrant(
                    guestAddress: request.address, byteCount: request.size,
                    userAddress: request.address, fileOffset: request.offset, file: file))
        } else {
            state.unreachable.append(range)
        }
        noteMemoryChange()
        return Answer(mustWait: !message.descriptors.isEmpty)
    }

    mutating func unmapMemory(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let request = try message.structure(vfio_user_dma_unmap.self)
        guard request.argsz >= UInt32(MemoryLayout<vfio_user_dma_unmap>.size),
            request.flags & ~UInt32(VFIO_USER_DMA_UNMAP_ALL) == 0
        else {
            throw VFIOUserError(
                ErrorNumber.invalid, "DMA_UNMAP with flags \(request.flags)")
        }
        if request.flags != 0 {
            guard request.address == 0, request.size == 0 else {
                throw VFIOUserError(
                    ErrorNumber.invalid, "DMA_UNMAP of everything, with a range")
            }
            state.memory = []
            state.unreachable = []
        } else if let index = state.memory.firstIndex(where: {
            $0.guestAddress == request.address && $0.byteCount == request.size
        }) {
            state.memory.remove(at: index)
        } else if let index = state.unreachable.firstIndex(where: {
            $0.lowerBound == request.address && $0.upperBound - $0.lowerBound == request.size
        }) {
            state.unreachable.remove(at: index)
        } else {
            throw VFIOUserError(
                ErrorNumber.noEntry,
                "no memory region of \(request.size) bytes at "
                    + "0x\(String(request.address, radix: 16))")
        }
        noteMemoryChange()
        return Answer(payload: message.payload, mustWait: true)
    }

    private mutating func noteMemoryChange() {
        state.generation += 1
        state.memoryGeneration += 1
    }

    private func overlaps(_ range: Range<UInt64>) -> Bool {
        state.unreachable.contains { $0.overlaps(range) }
            || state.memory.contains {
                ($0.guestAddress..<$0.guestAddress + $0.byteCount).overlaps(range)
            }
    }

    /// Whole pages that end before the address space does.
    private static func memoryRange(
        _ request: vfio_user_dma_map
    ) throws(VFIOUserError) -> Range<UInt64> {
        let known = UInt32(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITABLE)
        let (end, overflow) = request.address.addingReportingOverflow(request.size)
        guard request.argsz >= UInt32(MemoryLayout<vfio_user_dma_map>.size),
            request.flags & ~known == 0, request.size > 0, !overflow,
            (request.address | request.size | request.offset) & (VersionProposal.pageSize - 1) == 0
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "memory region of \(request.size) bytes at "
                    + "0x\(String(request.address, radix: 16)), flags \(request.flags), offset "
                    + "\(request.offset): whole pages are needed")
        }
        return request.address..<end
    }

    private static func check(
        _ file: SharedDescriptor, _ request: vfio_user_dma_map, _ name: String
    ) throws(VFIOUserError) {
        guard let byteCount = file.sharedMemoryByteCount else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "\(name) must be a memfd, tmpfs or hugetlbfs file, not \(file.kindName); start the "
                    + "VMM with a shared memory backend")
        }
        let (end, overflow) = request.offset.addingReportingOverflow(request.size)
        guard !overflow, end <= byteCount else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "\(name) of \(request.size) bytes from \(request.offset) on does not fit its file, "
                    + "which has \(byteCount)")
        }
    }
}
