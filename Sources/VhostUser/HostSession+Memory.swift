internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// Memory table and in-flight region.
extension HostSession {
    mutating func changeMemory(
        _ request: VhostUserRequest, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        let wasEmpty = state.memory.isEmpty
        switch request {
        case .setMemoryTable: state.memory = try MemoryTable.parse(message)
        case .addMemoryRegion:
            let region = try MemoryTable.parseSingle(message)
            state.memory = try MemoryTable.check(state.memory + [region])
        default:
            let region = try message.regionAfterPadding()
            guard
                let index = state.memory.firstIndex(where: {
                    $0.guestAddress == region.guest_address && $0.byteCount == region.size
                        && $0.userAddress == region.user_address
                })
            else { throw VhostUserError("REM_MEM_REG of a region that was never added") }
            state.memory.remove(at: index)
        }
        try checkLog()
        state.generation += 1
        state.memoryGeneration += 1
        // Adding to nothing takes nothing away.
        return wasEmpty || request == .addMemoryRegion ? .nothing : wait(for: message)
    }

    mutating func makeInflight(_ message: VhostUserMessage) throws(VhostUserError) -> Outcome {
        let wanted = try message.structure(vhost_user_inflight.self)
        let (queues, size) = try checkInflight(wanted)
        let byteCount = UInt64(queues * InflightGrant.stride(queueSize: size))
        let file: SharedDescriptor
        do {
            file = SharedDescriptor(
                try MemoryFile.create(name: "inflight", byteCount: byteCount))
        } catch { throw VhostUserError("in-flight region: \(error)") }
        state.inflight = InflightGrant(
            byteCount: byteCount, fileOffset: 0, queueCount: queues, queueSize: size, file: file)
        state.generation += 1
        var answer = wanted
        answer.mmap_size = byteCount
        answer.mmap_offset = 0
        return .reply(message.reply(ByteLayout.bytes(of: answer), descriptors: [file]))
    }

    mutating func setInflight(_ message: VhostUserMessage) throws(VhostUserError) {
        let fields = try message.structure(vhost_user_inflight.self)
        let (queues, size) = try checkInflight(fields)
        guard message.descriptors.count == 1, let file = message.descriptors.first,
            let byteCount = file.sharedMemoryByteCount
        else { throw VhostUserError("SET_INFLIGHT_FD without a memory file") }
        let needed = UInt64(queues * InflightGrant.stride(queueSize: size))
        let (end, overflow) = fields.mmap_offset.addingReportingOverflow(fields.mmap_size)
        guard !overflow, end <= byteCount, fields.mmap_size >= needed,
            fields.mmap_offset % 4096 == 0
        else {
            throw VhostUserError(
                "in-flight region of \(fields.mmap_size) bytes; \(needed) are needed")
        }
        state.inflight = InflightGrant(
            byteCount: fields.mmap_size, fileOffset: fields.mmap_offset, queueCount: queues,
            queueSize: size, file: file)
        state.generation += 1
    }

    private func checkInflight(
        _ fields: vhost_user_inflight
    ) throws(VhostUserError) -> (queues: Int, size: Int) {
        guard fields.num_queues > 0, Int(fields.num_queues) <= offer.queueCount,
            fields.queue_size > 0, Int(fields.queue_size) <= offer.queueSize
        else {
            throw VhostUserError(
                "in-flight region for \(fields.num_queues) queues of \(fields.queue_size); the "
                    + "controller has \(offer.queueCount) of \(offer.queueSize)")
        }
        return (Int(fields.num_queues), Int(fields.queue_size))
    }
}

extension VhostUserMessage {
    /// ADD_MEM_REG and REM_MEM_REG: eight bytes of padding, then the region.
    func regionAfterPadding() throws(VhostUserError) -> vhost_user_memory_region {
        guard payload.count == 8 + MemoryLayout<vhost_user_memory_region>.size,
            let region = ByteLayout.load(vhost_user_memory_region.self, from: payload, at: 8)
        else { throw VhostUserError("message \(request) has \(payload.count) bytes") }
        return region
    }
}
