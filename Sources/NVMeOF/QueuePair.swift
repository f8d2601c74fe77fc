internal import Bounded
public import CWire
public import Memory
public import Platform

/// The host's end of one NVMe/TCP connection: one submission and completion queue.
///
/// It has no socket and no clock. It says which memory the next bytes come from (`outgoing`) and go
/// to (`incoming`) and is told how many have moved, at any byte; so data moves between the socket
/// and the memory of the request itself. Whatever the target sends that is not right ends the
/// connection: from then on no memory is touched. One thread at a time uses it.
public final class QueuePair {
    public enum Phase: Equatable, Sendable {
        /// Waits for ICResp.
        case negotiating
        case ready
        /// Over RDMA: its device may still have work of it.
        case ending(ConnectionFault)
        case ended(ConnectionFault)
    }

    public struct Options: Equatable, Sendable {
        /// The most commands outstanding at once, up to 4096.
        public var depth: Int
        public var wantsHeaderDigest = false
        public var wantsDataDigest = false
        /// Data of that many bytes or more may be sent pinned; 0: none.
        public var pinnedByteCount = 0

        public init(depth: Int) { self.depth = depth }
    }

    /// What a command does with data. Memory stays valid until its completion, or until the
    /// connection has ended.
    public enum Transfer: BitwiseCopyable, Sendable {
        case nothing
        /// The target fills `byteCount` bytes at `offset` of the list.
        case read(SegmentList, offset: Int, byteCount: Int)
        case write(SegmentList, offset: Int, byteCount: Int)
        /// One range of Dataset Management.
        case range(nvme_dsm_range)
    }

    public struct Completion: BitwiseCopyable {
        public let token: UInt64
        /// Status field without phase tag.
        public let status: UInt16
        public let result: UInt64
    }

    /// R2Ts of one command that may be outstanding.
    static let grantLimit = 4

    public let options: Options
    public internal(set) var phase = Phase.negotiating
    /// Bytes of data that a write may have in its capsule.
    public var capsuleDataByteCount = 0
    public private(set) var commandCount: UInt64 = 0
    /// Bytes of data that went through a buffer, and that did not.
    public internal(set) var stagedByteCount: UInt64 = 0
    public internal(set) var directByteCount: UInt64 = 0

    let areas: QueuePairAreas
    var terms = ConnectionTerms()
    /// By slot.
    var commands: FixedTable<CommandSlot>
    var slots: SlotPool
    var completions: BoundedQueue<Completion>
    var train: PDUTrain
    /// What to send after the present train.
    var pending: BoundedQueue<OutgoingPDU>
    var inbound = InboundState()
    var pins = PinnedSends()
    let receiveArena = SegmentArena(capacity: QueuePair.receiveSegmentLimit + 1)
    private let rangeArena: SegmentArena

    public init(_ options: Options) throws(SystemError) {
        precondition(options.depth > 0 && options.depth <= 4096, "a CID has 12 bits of slot")
        self.options = options
        areas = try QueuePairAreas(depth: options.depth)
        commands = FixedTable(count: options.depth, repeating: CommandSlot())
        slots = SlotPool(capacity: options.depth)
        completions = BoundedQueue(capacity: options.depth)
        pending = BoundedQueue(capacity: options.depth * (1 + QueuePair.grantLimit) + 1)
        train = PDUTrain()
        rangeArena = SegmentArena(capacity: options.depth)
        let fits = pending.push(OutgoingPDU(kind: .initialize))
        precondition(fits)
    }

    public var outstanding: Int { slots.takenCount }

    /// Whether another command can start.
    public var hasRoom: Bool { phase == .ready && slots.freeCount > 0 }

    // MARK: Commands

    /// Queues a command; its identifier and data pointer are filled in here.
    /// - Parameter token: comes back with its completion.
    public func start(_ command: nvme_sqe, _ transfer: Transfer, token: UInt64) {
        guard phase == .ready, let slot = slots.take() else {
            preconditionFailure("no room in the queue pair")
        }
        let index = Int(slot)
        var started = CommandSlot()
        started.generation = commands[index].generation
        started.token = token
        switch transfer {
        case .nothing: break
        case .read(let list, let offset, let byteCount):
            started.place(list, offset, byteCount, isWrite: false)
        case .write(let list, let offset, let byteCount):
            started.place(list, offset, byteCount, isWrite: true)
        case .range(let range):
            let area = areas.range(index)
            area.store(range)
            rangeArena[index] = area
            started.place(
                rangeArena.list(at: index, count: 1), 0, area.byteCount, isWrite: true)
        }
        started.entry = command
        started.entry.command_id = started.identifier(of: slot)
        if started.isWrite && started.byteCount <= capsuleDataByteCount {
            started.granted = started.byteCount
        }
        started.describeData()
        started.unsentCount = 1
        commands[index] = started
        commandCount &+= 1
        enqueue(OutgoingPDU(kind: .capsule, slot: UInt16(slot)))
    }

    func enqueue(_ pdu: OutgoingPDU) {
        let fits = pending.push(pdu)
        precondition(fits, "more PDUs than commands and grants")
    }

    /// Of an outstanding command.
    func identifier(token: UInt64) -> UInt16? {
        slot(token: token).map { commands[$0].entry.command_id }
    }

    /// That of an outstanding command.
    private func slot(token: UInt64) -> Int? {
        for slot in 0..<options.depth where slots.isTaken(UInt32(slot)) {
            if commands[slot].token == token && !commands[slot].isRevoked { return slot }
        }
        return nil
    }

    /// Gives up a read: its memory is not touched any more, and no completion comes of it.
    /// - Returns: false for another command, which has to end by itself.
    public func revokeRead(token: UInt64) -> Bool {
        guard let slot = slot(token: token), commands[slot].byteCount > 0, !commands[slot].isWrite
        else { return false }
        commands[slot].isRevoked = true
        return true
    }

    /// The oldest completion that has not been taken.
    public func nextCompletion() -> Completion? { completions.pop() }

    /// After the end: the token of one more command that will never be answered.
    public func nextLost() -> UInt64? {
        guard case .ended = phase else { preconditionFailure("commands are lost with their end") }
        while inbound.lostScan < options.depth {
            let slot = UInt32(inbound.lostScan)
            inbound.lostScan &+= 1
            if !slots.isTaken(slot) { continue }
            slots.giveBack(slot)
            if !commands[Int(slot)].isRevoked { return commands[Int(slot)].token }
        }
        return nil
    }

    /// Ends the connection. The first cause counts.
    public func end(_ fault: ConnectionFault) {
        if case .ended = phase { return }
        phase = .ended(fault)
    }

    /// Takes the answer to the command in `slot`.
    func complete(_ slot: Int, status: UInt16, result: UInt64) {
        let command = commands[slot]
        if command.unsentCount > 0 { return end(.earlyAnswer) }
        let moved = command.isWrite ? command.granted : command.received
        if status == 0 && moved < command.byteCount { return end(.dataMissing) }
        let answer = Completion(
            token: command.token,
            status: command.isDamaged ? UInt16(NVME_SC_TRANSIENT_TRANSPORT) : status,
            result: result)
        // Its memory is the kernel's until that says otherwise.
        if command.pinCount > 0 { commands[slot].answer = answer } else { finish(slot, answer) }
    }

    /// Ends the command in `slot`, whose memory nobody has any more.
    func finish(_ slot: Int, _ answer: Completion) {
        commands[slot].generation &+= 1
        slots.giveBack(UInt32(slot))
        if commands[slot].isRevoked { return }
        let fits = completions.push(answer)
        precondition(fits, "more completions than commands")
    }
}

/// One outstanding command.
struct CommandSlot: BitwiseCopyable {
    var entry = nvme_sqe()
    var token: UInt64 = 0
    var segments = SegmentList.empty
    /// Of the data in `segments`.
    var offset = 0
    var byteCount = 0
    var isWrite = false
    /// Read: bytes that came.
    var received = 0
    /// Write: bytes in the capsule, or asked for by R2Ts.
    var granted = 0
    /// Its capsule and R2Ts, as far as they are not sent.
    var unsentCount = 0
    /// Pinned sends of its data that have not ended.
    var pinCount = 0
    /// What the target has said while there are some.
    var answer: QueuePair.Completion?
    /// A data digest was wrong.
    var isDamaged = false
    /// A read that was given up: what comes for it is thrown away.
    var isRevoked = false
    /// Counts the uses of the slot: an answer to an earlier one is told from an answer to this.
    var generation: UInt8 = 0

    mutating func place(_ list: SegmentList, _ offset: Int, _ byteCount: Int, isWrite: Bool) {
        segments = list
        self.offset = offset
        self.byteCount = byteCount
        self.isWrite = isWrite
    }

    func identifier(of slot: UInt32) -> UInt16 { UInt16(slot) | UInt16(generation & 15) << 12 }

    /// Fills in the data pointer (Fabrics §4.2): an SGL descriptor in place of PRPs.
    mutating func describeData() {
        entry.flags = UInt8(NVME_PSDT_SGL << NVME_PSDT_SHIFT)
        let type = granted > 0 ? NVME_SGL_IN_CAPSULE : NVME_SGL_TRANSPORT
        entry.prp1 = 0
        entry.prp2 = UInt64(byteCount) | UInt64(type) << 56
    }
}

/// What the two ends agreed on (TCP §3.3).
struct ConnectionTerms: Equatable {
    var hasHeaderDigest = false
    var hasDataDigest = false
    /// What a PDU's data offset from the host is a multiple of.
    var dataAlignment = 4
    /// Bytes of one H2CData, at most, whatever the target takes: the staging area has room for two.
    static let dataLimit = 1 << 17
    /// Of one H2CData.
    var dataLimit = Int(NVME_TCP_LEAST_MAXH2CDATA)
}

/// The queue pair's own memory.
struct QueuePairAreas {
    static let headerByteCount = 192
    /// What is received and not data, and as much of the data as comes with it.
    static let windowByteCount = 1 << 10
    /// With data digests all data goes through: what the digest covers cannot be the host's memory,
    /// which its owner may change meanwhile.
    static let digestWindowByteCount = 1 << 16
    static let stagingByteCount = 1 << 18

    let headers: HostSegment
    let window: HostSegment
    let staging: HostSegment
    private let ranges: HostSegment
    private let memory: Mapping

    init(depth: Int) throws(SystemError) {
        let headerBytes = PDUTrain.pduLimit * QueuePairAreas.headerByteCount
        let rangeBytes = depth * MemoryLayout<nvme_dsm_range>.size
        let sizes = [
            headerBytes, rangeBytes, QueuePairAreas.digestWindowByteCount,
            QueuePairAreas.stagingByteCount,
        ]
        let total = sizes.reduce(0, +)
        let file = try MemoryFile.create(name: "queue pair", byteCount: UInt64(total))
        memory = try Mapping(file.number, byteCount: total)
        let all = memory.bytes.segment
        headers = all.part(at: 0, byteCount: sizes[0])
        ranges = all.part(at: sizes[0], byteCount: sizes[1])
        window = all.part(at: sizes[0] + sizes[1], byteCount: sizes[2])
        staging = all.part(at: sizes[0] + sizes[1] + sizes[2], byteCount: sizes[3])
    }

    func range(_ slot: Int) -> HostSegment {
        let size = MemoryLayout<nvme_dsm_range>.size
        return ranges.part(at: slot &* size, byteCount: size)
    }

    func header(_ index: Int) -> HostSegment {
        headers.part(
            at: index &* QueuePairAreas.headerByteCount,
            byteCount: QueuePairAreas.headerByteCount)
    }
}
