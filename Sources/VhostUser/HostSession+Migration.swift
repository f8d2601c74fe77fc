internal import CWire
internal import Hardware
internal import Memory
internal import Platform

/// Live migration: the log of dirty pages (vhost-user.rst, "Migration").
///
/// A front end gives a bitmap (SET_LOG_BASE), turns logging on and off for everything that the
/// device writes (VHOST_F_LOG_ALL) and for each ring (VHOST_VRING_F_LOG). Each is answered when the
/// service has taken it up: no write that follows the answer goes unmarked.
extension HostSession {
    mutating func setLogBase(_ message: VhostUserMessage) throws(VhostUserError) -> Outcome {
        guard protocolFeatures.contains(.logSharedMemory) else {
            throw VhostUserError(
                "SET_LOG_BASE without VHOST_USER_PROTOCOL_F_LOG_SHMFD; negotiate it first")
        }
        let grant = try Self.dirtyLog(message)
        try check(grant)
        state.dirtyLog = grant
        switch logChanged(message) {
        case .wait(let pending): return .wait(pending)
        // Always answered, whether it was asked for or not.
        default: return number(0, for: message)
        }
    }

    private static func dirtyLog(
        _ message: VhostUserMessage
    ) throws(VhostUserError) -> DirtyLogGrant {
        let fields = try message.structure(vhost_user_log.self)
        guard message.descriptors.count == 1, let file = message.descriptors.first else {
            throw VhostUserError(
                "SET_LOG_BASE with \(message.descriptors.count) descriptors instead of one")
        }
        let grant = DirtyLogGrant(
            byteCount: fields.mmap_size, fileOffset: fields.mmap_offset, file: file)
        try check(kept: grant)
        return grant
    }

    /// What must be true of a log whoever gives it.
    static func check(kept log: DirtyLogGrant) throws(VhostUserError) {
        guard let byteCount = log.file.sharedMemoryByteCount else {
            throw VhostUserError(
                "dirty log must be a memfd, tmpfs or hugetlbfs file, not \(log.file.kindName)")
        }
        guard log.fileOffset % DirtyLog.pageByteCount == 0 else {
            throw VhostUserError(
                "dirty log at offset \(log.fileOffset) of its file; it must be a multiple of "
                    + "\(DirtyLog.pageByteCount)")
        }
        let (end, overflow) = log.fileOffset.addingReportingOverflow(log.byteCount)
        guard !overflow, log.byteCount > 0, end <= byteCount else {
            throw VhostUserError(
                "dirty log of \(log.byteCount) bytes at offset \(log.fileOffset) of a file that "
                    + "has \(byteCount)")
        }
    }

    /// Refuses a log without room for all of the memory and the rings that are logged.
    private func check(_ log: DirtyLogGrant) throws(VhostUserError) {
        let reach = DirtyLog.reach(byteCount: log.byteCount)
        let rings = state.queues.filter { $0.isRunning && $0.logsRing }.map(logEnd)
        let end = (state.memory.map { $0.guestAddress + $0.byteCount } + rings).max() ?? 0
        if end > reach {
            throw VhostUserError(
                "dirty log of \(log.byteCount) bytes ends at guest address "
                    + "0x\(String(reach, radix: 16)); memory and rings end at "
                    + "0x\(String(end, radix: 16)), which takes "
                    + "\((end - 1) / DirtyLog.pageByteCount / 8 + 1) bytes")
        }
    }

    /// Where the logged part of a ring ends: the device area's bytes.
    private func logEnd(_ queue: QueueGrant) -> UInt64 {
        // VIRTIO_F_RING_PACKED
        let isPacked = state.driverFeatures & 1 << 34 != 0
        let byteCount = isPacked ? 4 : 6 + 8 * UInt64(queue.size)
        let (end, overflow) = queue.logAddress.addingReportingOverflow(byteCount)
        return overflow ? .max : end
    }

    /// Memory or what is logged has changed: the log must still have room. One that nothing uses is
    /// forgotten instead; the front end gives another one before a queue runs.
    mutating func checkLog() throws(VhostUserError) {
        guard let log = state.dirtyLog else { return }
        do {
            try check(log)
        } catch {
            if state.isLogging && isAnyRunning { throw error }
            state.dirtyLog = nil
            state.logGeneration += 1
        }
    }

    /// VHOST_F_LOG_ALL, as SET_FEATURES has it.
    mutating func setLogging(
        _ isLogging: Bool, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        if isLogging == state.isLogging { return .nothing }
        state.isLogging = isLogging
        // The front end takes its log back; the next migration brings its own.
        if !isLogging { state.dirtyLog = nil }
        try checkLog()
        return logChanged(message)
    }

    /// The flag and the address of SET_VRING_ADDR.
    mutating func setRingLog(
        _ index: Int, _ fields: vhost_user_vring_address, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        let logsRing = fields.flags & Self.ringLogFlag != 0
        let address = logsRing ? fields.log : 0
        guard address % 4 == 0 else {
            throw VhostUserError(
                "used ring of queue \(index) is logged at 0x\(String(address, radix: 16)); the "
                    + "address must be a multiple of 4")
        }
        let queue = state.queues[index]
        if queue.logsRing == logsRing && queue.logAddress == address { return .nothing }
        state.queues[index].logsRing = logsRing
        state.queues[index].logAddress = address
        try checkLog()
        return logChanged(message)
    }

    /// VHOST_VRING_F_LOG.
    private static let ringLogFlag: UInt32 = 1 << 0

    /// Whether a service has to have the queues before `message` ends them. A machine that moves
    /// takes memory and positions along, and nothing else: what a service has left behind must be
    /// answered, and marked, before.
    public func needsService(for message: VhostUserMessage) -> Bool {
        guard state.isLogging, isAnyRunning else { return false }
        switch VhostUserRequest(rawValue: message.request) {
        case .getVringBase, .setVringEnable, .setStatus, .resetOwner, .resetDevice,
            .setMemoryTable, .removeMemoryRegion:
            return true
        default: return false
        }
    }

    private var isAnyRunning: Bool { state.queues.contains(where: \.isRunning) }

    /// What runs must take it up before the front end hears that it is done.
    private mutating func logChanged(_ message: VhostUserMessage) -> Outcome {
        state.logGeneration += 1
        state.generation += 1
        return isAnyRunning ? wait(for: message) : .nothing
    }
}
