public import Bounded
public import CWire
public import Memory

/// The host's end of one NVMe/RDMA connection: one submission and completion queue (Fabrics §7.3).
///
/// It has no device and no clock. It says which capsules to send (`nextCapsule`) and where answers
/// may come to (`nextAnswerPlace`), and is told what has been sent and what has come. The data of a
/// command lies in its capsule, or in one stretch that the target reads or writes by a key.
///
///     ready ──(a fault)──▶ ending ──(the device has nothing of it any more)──▶ ended
///
/// While it ends, the target may still reach the buffer; after that nothing does. One thread at a
/// time uses it.
public final class CapsuleQueue {
    public struct Shape: Equatable, Sendable {
        /// The most commands outstanding at once, up to 4096.
        public var depth: Int
        /// Bytes of data that a write may have in its capsule.
        public var capsuleDataByteCount: Int
        /// Whole units of 4096; the data of one command fits in.
        public var bufferByteCount: Int

        public init(depth: Int, capsuleDataByteCount: Int, bufferByteCount: Int) {
            self.depth = depth
            self.capsuleDataByteCount = capsuleDataByteCount
            self.bufferByteCount = bufferByteCount
        }
    }

    /// A command capsule to send.
    public struct Capsule: BitwiseCopyable {
        public let slot: Int
        public let bytes: HostSegment
    }

    public let shape: Shape
    public private(set) var phase = QueuePair.Phase.ready
    public private(set) var commandCount: UInt64 = 0
    /// Bytes of data that went through the buffer or a capsule.
    public private(set) var stagedByteCount: UInt64 = 0
    /// Bytes of data that the target read or wrote where they are.
    public private(set) var directByteCount: UInt64 = 0
    /// Memory of requests that the target reaches; changed between calls only.
    public var direct = BoundedArray<DirectStretch>(capacity: StorageDomain.regionLimit)
    /// Of `direct`: the one that was used last.
    private var lastStretch = 0
    /// Commands that the target takes at once (CRQSIZE).
    public var commandLimit: Int
    /// Data block descriptors that it takes in a capsule (MSDBD).
    public var descriptorLimit = 1

    public let areas: CapsuleAreas
    /// The buffer, as the target reaches it.
    private let bufferPlace: RemoteAddress
    private var stretches: StretchPool
    /// By slot.
    private var commands: FixedTable<CapsuleSlot>
    private var slots: SlotPool
    /// Slots of commands whose capsules are not made yet, in order.
    private var pending: BoundedQueue<UInt32>
    /// Slots whose capsules the device has, in order.
    private var sending: BoundedQueue<UInt32>
    /// Answer places that nobody may write to yet.
    private var idlePlaces: BoundedQueue<UInt16>
    /// All of them are being given.
    private var isGivingPlaces = false
    private var completions: BoundedQueue<QueuePair.Completion>
    /// Slots looked through by `nextLost`.
    private var lostScan = 0

    public init(_ shape: Shape, _ areas: CapsuleAreas, buffer: RemoteAddress) {
        precondition(shape.depth > 0 && shape.depth <= 4096, "a CID has 12 bits of slot")
        self.shape = shape
        self.areas = areas
        bufferPlace = buffer
        commandLimit = shape.depth
        stretches = StretchPool(unitCount: shape.bufferByteCount / CapsuleAreas.unitByteCount)
        commands = FixedTable(count: shape.depth, repeating: CapsuleSlot())
        slots = SlotPool(capacity: shape.depth)
        pending = BoundedQueue(capacity: shape.depth)
        sending = BoundedQueue(capacity: shape.depth)
        idlePlaces = BoundedQueue(capacity: areas.answerCount)
        completions = BoundedQueue(capacity: shape.depth)
        for index in 0..<areas.answerCount { giveBackPlace(index) }
    }

    public var outstanding: Int { slots.takenCount }

    /// Whether another command can start.
    public var hasRoom: Bool {
        phase == .ready && slots.freeCount > 0 && slots.takenCount < commandLimit
    }

    // MARK: Commands

    /// Queues a command; its identifier and data pointer are filled in here.
    /// - Parameter token: comes back with its completion.
    public func start(_ command: nvme_sqe, _ transfer: QueuePair.Transfer, token: UInt64) {
        guard hasRoom, let slot = slots.take() else {
            preconditionFailure("no room in the capsule queue")
        }
        var started = CapsuleSlot()
        started.generation = commands[Int(slot)].generation
        started.entry = command
        started.transfer = transfer
        started.token = token
        commands[Int(slot)] = started
        commandCount &+= 1
        let fits = pending.push(slot)
        precondition(fits, "more commands than slots")
    }

    /// Of an outstanding command.
    func identifier(token: UInt64) -> UInt16? {
        slot(token: token).map { commands[$0].entry.command_id }
    }

    /// That of a command that is not answered; one that is may have given its token to another.
    private func slot(token: UInt64) -> Int? {
        for slot in 0..<shape.depth where slots.isTaken(UInt32(slot)) {
            let command = commands[slot]
            if command.token == token && !command.isRevoked && !command.isAnswered { return slot }
        }
        return nil
    }

    /// Gives up a read: its memory is not touched any more, and no completion comes of it.
    /// - Returns: false for another command, which has to end by itself.
    public func revokeRead(token: UInt64) -> Bool {
        // A read into the memory of the request ends by itself.
        guard let slot = slot(token: token), case .read = commands[slot].transfer,
            !commands[slot].isDirect
        else { return false }
        commands[slot].isRevoked = true
        return true
    }

    /// The oldest completion that has not been taken.
    public func nextCompletion() -> QueuePair.Completion? { completions.pop() }

    // MARK: Ends

    /// Begins to end the connection. The first cause counts.
    public func end(_ fault: ConnectionFault) {
        if phase == .ready { phase = .ending(fault) }
    }

    /// The device has nothing of the queue any more.
    public func finishEnd() {
        guard case .ending(let fault) = phase else { return }
        phase = .ended(fault)
    }

    /// After the end: the token of one more command that will never be answered.
    public func nextLost() -> UInt64? {
        guard case .ended = phase else { preconditionFailure("commands are lost with their end") }
        while lostScan < shape.depth {
            let slot = UInt32(lostScan)
            lostScan &+= 1
            if !slots.isTaken(slot) { continue }
            slots.giveBack(slot)
            let command = commands[Int(slot)]
            if !command.isRevoked && !command.isAnswered { return command.token }
        }
        return nil
    }

    // MARK: What the device is given

    /// The capsule to send next, which is the device's until `sent`. Nil: there is none now.
    public func nextCapsule() -> Capsule? {
        guard phase == .ready, let slot = pending.first else { return nil }
        guard let byteCount = makeCapsule(Int(slot)) else { return nil }
        _ = pending.pop()
        let fits = sending.push(slot)
        precondition(fits, "more capsules than slots")
        return Capsule(
            slot: Int(slot),
            bytes: areas.capsule(Int(slot)).part(at: 0, byteCount: byteCount))
    }

    /// Where another answer may come to. Places are given many at once, before a capsule is sent
    /// whose answer would have none.
    public func nextAnswerPlace() -> Int? {
        if phase != .ready { return nil }
        if !isGivingPlaces {
            let given = areas.answerCount &- idlePlaces.count
            isGivingPlaces = idlePlaces.count >= areas.answerBatch || given < outstanding
        }
        guard isGivingPlaces, let place = idlePlaces.pop() else {
            isGivingPlaces = false
            return nil
        }
        return Int(place)
    }

    private func giveBackPlace(_ index: Int) {
        let fits = idlePlaces.push(UInt16(index))
        precondition(fits, "an answer place given back twice")
    }

    /// - Returns: the capsule's size; nil while the buffer has no room for the data.
    private func makeCapsule(_ slot: Int) -> Int? {
        var command = commands[slot]
        command.entry.command_id = command.identifier(of: slot)
        command.entry.flags = UInt8(NVME_PSDT_SGL << NVME_PSDT_SHIFT)
        var size = Int(NVME_SQE_BYTES)
        let byteCount = command.byteCount
        if byteCount == 0 {
            command.describe(RemoteAddress(0, key: 0))
        } else if let place = directPlace(of: command) {
            command.isDirect = true
            command.describe(place)
            directByteCount &+= UInt64(byteCount)
        } else if let count = describeRuns(of: command, in: areas.capsule(slot)) {
            command.isDirect = true
            command.describeRuns(count)
            size &+= count &* Int(NVME_SGL_BYTES)
            directByteCount &+= UInt64(byteCount)
        } else if command.isWrite && byteCount <= shape.capsuleDataByteCount {
            command.gather(into: areas.capsule(slot).part(at: size, byteCount: byteCount))
            command.describeInCapsule()
            size &+= byteCount
            stagedByteCount &+= UInt64(byteCount)
        } else {
            let count = CapsuleSlot.unitCount(of: byteCount)
            guard let unit = stretches.take(count) else { return nil }
            let offset = unit &* CapsuleAreas.unitByteCount
            command.firstUnit = unit
            if command.isWrite {
                command.gather(into: areas.buffer(at: offset, byteCount: byteCount))
            }
            command.describe(bufferPlace.advanced(by: offset))
            stagedByteCount &+= UInt64(byteCount)
        }
        command.isSent = true
        areas.capsule(slot).store(command.entry)
        commands[slot] = command
        return size
    }

    /// Where the target reaches the data of a command; nil: it has to be staged.
    private func directPlace(of command: CapsuleSlot) -> RemoteAddress? {
        if direct.isEmpty || command.isRevoked { return nil }
        guard let start = command.run else { return nil }
        return place(of: start, command.byteCount)
    }

    /// Where the target reaches the `byteCount` bytes at `start`; nil: not all of them.
    func place(of start: UInt64, _ byteCount: Int) -> RemoteAddress? {
        if lastStretch < direct.count,
            let place = direct[lastStretch].place(of: start, byteCount)
        {
            return place
        }
        var index = 0
        while index < direct.count {
            if let place = direct[index].place(of: start, byteCount) {
                lastStretch = index
                return place
            }
            index &+= 1
        }
        return nil
    }

    // MARK: What the device tells

    /// The oldest `count` capsules have gone; the device has no use for them any more.
    public func sent(_ count: Int) {
        for _ in 0..<count {
            guard let slot = sending.pop() else { preconditionFailure("more sent than given") }
            commands[Int(slot)].hasLeft = true
            release(slot)
        }
    }

    /// An answer of `byteCount` bytes has come to place `index`.
    public func received(at index: Int, byteCount: Int) {
        // Copied out before the place is given again.
        let entry = areas.answer(index).load(nvme_cqe.self)
        giveBackPlace(index)
        if phase != .ready { return }
        if byteCount != Int(NVME_CQE_BYTES) { return end(.header) }
        let slot = UInt32(entry.command_id & 0xFFF)
        guard Int(slot) < shape.depth, slots.isTaken(slot),
            commands[Int(slot)].identifier(of: Int(slot)) == entry.command_id,
            !commands[Int(slot)].isAnswered
        else { return end(.unknownCommand) }
        if !commands[Int(slot)].isSent { return end(.earlyAnswer) }
        complete(
            slot, status: entry.status >> 1,
            result: UInt64(entry.result) | UInt64(entry.result_high) << 32)
    }

    private func complete(_ slot: UInt32, status: UInt16, result: UInt64) {
        let command = commands[Int(slot)]
        if let unit = command.firstUnit {
            let byteCount = command.byteCount
            let offset = unit &* CapsuleAreas.unitByteCount
            if case .read(let list, let start, _) = command.transfer, status == 0,
                !command.isRevoked
            {
                list.scatter(areas.buffer(at: offset, byteCount: byteCount), to: start)
            }
            stretches.giveBack(unit, CapsuleSlot.unitCount(of: byteCount))
        }
        commands[Int(slot)].isAnswered = true
        if !command.isRevoked {
            let fits = completions.push(
                QueuePair.Completion(token: command.token, status: status, result: result))
            precondition(fits, "more completions than commands")
        }
        release(slot)
    }

    /// A slot is free when its command is answered and its capsule has gone: the device sends a
    /// capsule again whose receipt it has not heard of.
    private func release(_ slot: UInt32) {
        let command = commands[Int(slot)]
        if !command.isAnswered || !command.hasLeft { return }
        commands[Int(slot)].generation &+= 1
        slots.giveBack(slot)
    }
}

/// One outstanding command.
struct CapsuleSlot: BitwiseCopyable {
    var entry = nvme_sqe()
    var transfer = QueuePair.Transfer.nothing
    var token: UInt64 = 0
    /// Of its stretch of the buffer.
    var firstUnit: Int?
    /// The target reads or writes the memory of the request.
    var isDirect = false
    /// The device has been given its capsule.
    var isSent = false
    /// The device has no use for its capsule any more.
    var hasLeft = false
    var isAnswered = false
    /// A read that was given up: what comes for it is thrown away.
    var isRevoked = false
    /// Counts the uses of the slot: an answer to an earlier one is told from an answer to this.
    var generation: UInt8 = 0

    var byteCount: Int {
        switch transfer {
        case .nothing: 0
        case .read(_, _, let byteCount), .write(_, _, let byteCount): byteCount
        case .range: MemoryLayout<nvme_dsm_range>.size
        }
    }

    var isWrite: Bool {
        switch transfer {
        case .nothing, .read: false
        case .write, .range: true
        }
    }

    /// Where its data lies, if that is one run of the request's memory.
    var run: UInt64? {
        switch transfer {
        case .nothing, .range: nil
        case .read(let list, let offset, let byteCount),
            .write(let list, let offset, let byteCount):
            list.run(from: offset, byteCount)
        }
    }

    static func unitCount(of byteCount: Int) -> Int {
        (byteCount &+ CapsuleAreas.unitByteCount &- 1) / CapsuleAreas.unitByteCount
    }

    func identifier(of slot: Int) -> UInt16 { UInt16(slot) | UInt16(generation & 15) << 12 }

    /// Copies what it writes.
    func gather(into target: HostSegment) {
        switch transfer {
        case .write(let list, let offset, _): list.gather(from: offset, into: target)
        case .range(let range): target.store(range)
        case .nothing, .read: preconditionFailure("nothing is written")
        }
    }

    /// The target reads or writes the data there (Fabrics §4.2: keyed data block).
    mutating func describe(_ place: RemoteAddress) {
        entry.prp1 = place.address
        entry.prp2 = place.keyedLength(byteCount)
    }

    /// The data follows the entry.
    mutating func describeInCapsule() {
        entry.prp1 = 0
        entry.prp2 = UInt64(byteCount) | UInt64(NVME_SGL_IN_CAPSULE) << 56
    }
}
