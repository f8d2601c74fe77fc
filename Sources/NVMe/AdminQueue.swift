internal import Bounded
internal import CWire
public import Memory
public import Platform

/// The admin queue: takes commands, hands them out, posts what has become of them. Confined to one
/// thread.
///
/// A command may stay open for ever (Asynchronous Event Request). Of what a predecessor left open,
/// recorded outcomes are posted (`OutcomeRecord`); the rest is handed out again.
public struct AdminQueue: ~Copyable {
    /// Segments of one command's data at most.
    private static let segmentLimit = 1024

    private var memory: HostMemory
    private let journalMemory: NVMeMemory
    private let journal: InFlightJournal
    private let interrupt: any InterruptLine
    private let isInterruptEnabled: Bool
    public let counters: QueueCounters
    private var submission: SubmissionRing
    private var completion: CompletionRing
    private var freeSlots: SlotPool
    /// Slots to hand out.
    private var ready: BoundedQueue<UInt32>
    private let segments = SegmentArena(capacity: AdminQueue.segmentLimit)
    private var replay: SlotReplay?
    /// Marks up to here counted when the queue was taken over.
    private var settled: UInt64 = 0
    /// Ends of commands that came while the ring was not there.
    private var held: [HeldEnd] = []
    private var turn = QueueCounters.Reading()
    public internal(set) var phase = IOQueue.Phase.running

    private struct HeldEnd {
        let slot: Int
        let status: NVMeStatus
        let result: UInt32
    }

    /// - Parameter journal: of the function; a journal that is in use is taken over.
    public init(
        submission: SubmissionQueueSetup, completion: CompletionQueueSetup, memory: HostMemory,
        journal: NVMeMemory, interrupt: any InterruptLine, counters: QueueCounters
    ) throws(QueueFault) {
        guard submission.id == 0, completion.id == 0 else { throw .badIdentifier }
        let ring = try SubmissionRing(
            submission, memory: memory, consumedCell: journal.consumedCount(of: 0))
        var answers = try CompletionRing(completion, memory: memory)
        let slotCount = min(NVMeMemory.inFlightLimit, completion.size - 1)
        let log = InFlightJournal(journal.journal(0))
        var left: [UInt32]?
        if !answers.isParked {
            left = try log.takeOver(&answers, of: journal, slotCount: slotCount)
        }
        self.memory = memory
        journalMemory = journal
        self.journal = log
        self.interrupt = interrupt
        isInterruptEnabled = completion.isInterruptEnabled
        self.counters = counters
        self.submission = ring
        self.completion = answers
        freeSlots = SlotPool(capacity: slotCount)
        ready = BoundedQueue(capacity: slotCount)
        if let left { adopt(left) }
    }

    private mutating func adopt(_ left: [UInt32]) {
        settled = journalMemory.settledMark
        freeSlots.keep(left)
        replay = SlotReplay(slots: left)
    }

    /// Commands taken and not yet completed.
    public var outstanding: Int { freeSlots.takenCount }
    /// Whether every command was completed and none is taken any more.
    public var isDrained: Bool { outstanding == 0 && phase != .running }
    /// Whether a ring or a doorbell is not in the host's memory just now.
    public var isParked: Bool { submission.isParked || completion.isParked }

    // --- one turn ---

    /// Takes commands, and shows the driver what was completed.
    /// - Returns: commands taken and completed; `next` hands out what was taken.
    public mutating func poll(now: Ticks) -> Int {
        if phase == .running, !isParked {
            do { try fetch() } catch { fail(error) }
        }
        if memory.isDead { fail(.memoryGone) }
        if !held.isEmpty, !completion.isParked { postHeld() }
        if phase.answers, turn.completed > 0, isInterruptEnabled, !interrupt.raise() {
            fail(.interruptBlocked)
        }
        let done = Int(turn.received &+ turn.completed)
        if done > 0 {
            counters.add(turn)
            turn = QueueCounters.Reading()
        }
        return done
    }

    private mutating func fetch() throws(QueueFault) {
        if replay == nil {
            adopt(
                try journal.takeOver(
                    &completion, of: journalMemory, slotCount: freeSlots.capacity))
        }
        var limit = min(IOQueue.turnLimit, freeSlots.freeCount)
        if completion.knownRoom(reserved: outstanding) < limit {
            try completion.readHead()
            limit = min(limit, completion.knownRoom(reserved: outstanding))
        }
        while limit > 0, try submission.hasWork(), let slot = freeSlots.take() {
            // Before the command: an outcome of the slot's last one must not become its own.
            journal.reopen(slot)
            journal.began(
                slot, submission.entry(), sequence: submission.consumed, submission: 0)
            submission.advance()
            turn.received &+= 1
            turn.others &+= 1
            limit &-= 1
            let fits = ready.push(slot)
            precondition(fits, "a slot is handed out once")
        }
        if !submission.isCommitted { submission.commit() }
    }

    /// The next command to carry out; nil when there is none, or while its answer could not be
    /// posted. It is `complete`d once, whenever.
    public mutating func next() -> AdminCommand? {
        while phase.answers, !completion.isParked {
            let again = replay?.next()
            guard let slot = again ?? ready.pop() else { return nil }
            let step = journal.adminStep(
                slot, isAgain: again != nil, settled: settled, in: journalMemory)
            switch step {
            case .carryOut(let command): return command
            case .answer(let status, let result): complete(Int(slot), status, result: result)
            }
        }
        return nil
    }

    private mutating func postHeld() {
        let due = held
        held = []
        for end in due { complete(end.slot, end.status, result: end.result) }
    }

    /// Posts the end of a command, or keeps it until the ring is back. The driver is interrupted at
    /// the next poll.
    public mutating func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32 = 0) {
        let number = UInt32(slot)
        precondition(freeSlots.isTaken(number), "the command is not open")
        if phase.answers, completion.isParked {
            held.append(HeldEnd(slot: slot, status: status, result: result))
            return
        }
        if phase.answers {
            if !submission.isCommitted { submission.commit() }
            journal.ending(number, at: completion.tail, phase: completion.phase)
            completion.post(
                result: result, head: submission.head, submission: 0,
                command: Command(journal.line(number)).id, status: status)
            journal.moved(tail: completion.tail, phase: completion.phase)
            journal.ended(number)
            if status != .success { turn.errors &+= 1 }
        }
        freeSlots.giveBack(number)
        turn.completed &+= 1
    }

    /// Puts a command's data where its PRP entries say. The driver looks at it after the completion
    /// only, so it may be written again.
    /// - Throws: the status to complete the command with.
    public func write(_ slot: Int, _ data: [UInt8]) throws(NVMeStatus) {
        precondition(freeSlots.isTaken(UInt32(slot)), "the command is not open")
        if !phase.answers { return }
        var offset = 0
        let list = try list(UInt32(slot), byteCount: data.count)
        for index in 0..<list.count {
            let segment = list[index]
            segment.store(bytes: Array(data[offset..<offset + segment.byteCount]))
            offset += segment.byteCount
        }
    }

    /// Fetches a command's data from the host, once.
    /// - Throws: the status to complete it with.
    public func read(_ slot: Int, byteCount: Int) throws(NVMeStatus) -> [UInt8] {
        precondition(freeSlots.isTaken(UInt32(slot)), "the command is not open")
        let list = try list(UInt32(slot), byteCount: byteCount)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        for index in 0..<list.count { bytes += list[index].bytes() }
        return bytes
    }

    private func list(_ slot: UInt32, byteCount: Int) throws(NVMeStatus) -> SegmentList {
        if byteCount == 0 { return .empty }
        let command = Command(journal.line(slot))
        // Over PCIe an admin command has no SGL (Base §4.1.2).
        guard command.dataPointerKind == NVME_PSDT_PRP,
            byteCount <= (Self.segmentLimit - 1) * QueueShape.pageByteCount
        else { throw .invalidField }
        let run = SegmentRun(arena: segments.space, start: 0, limit: Self.segmentLimit)
        var walk = SegmentWalk(memory, HostWindow(), into: run)
        do throws(DataFault) {
            return try walk.list(command, byteCount: byteCount)
        } catch {
            if case .refused(let status) = error { throw status }
            throw .dataTransferError
        }
    }

    // --- phases ---

    /// Stops taking commands. What is open stays open until it is completed.
    public mutating func drain() {
        if phase == .running { phase = .draining }
    }

    public mutating func resume() {
        if phase == .draining { phase = .running }
    }

    /// The driver has taken the rings back (controller reset): nothing is posted any more. What was
    /// handed out is still completed, for its slot's sake; the rest is forgotten.
    public mutating func discard() {
        if case .failed = phase {} else { phase = .discarding }
        dropWork()
    }

    private mutating func fail(_ fault: QueueFault) {
        guard phase.answers else { return }
        phase = .failed(memory.isDead ? .memoryGone : fault)
        dropWork()
    }

    private mutating func dropWork() {
        while let slot = replay?.next() { freeSlots.giveBack(slot) }
        while let slot = ready.pop() { freeSlots.giveBack(slot) }
        for end in held { freeSlots.giveBack(UInt32(end.slot)) }
        held = []
    }

    // --- memory and doorbells ---

    /// As `IOQueue.exchange(memory:)`.
    public mutating func exchange(memory: HostMemory) {
        self.memory = memory
        submission.resolve(in: memory)
        completion.resolve(in: memory)
    }

    /// The doorbells have moved (Doorbell Buffer Config).
    public mutating func exchange(tail: Doorbell, head: Doorbell) {
        submission.exchange(tail, memory: memory)
        completion.exchange(head, memory: memory)
    }

    /// Before the queue is left alone: asks the driver for MMIO writes.
    /// - Returns: false when there is work already.
    public mutating func enableDoorbellEvents() -> Bool {
        guard phase == .running else { return true }
        if memory.isDead {
            fail(.memoryGone)
            return false
        }
        if turn.completed > 0 { return false }
        let waits = replay?.isEmpty == false || !ready.isEmpty || !held.isEmpty
        if waits, !completion.isParked { return false }
        if isParked { return true }
        submission.askForTail()
        completion.askForHead()
        // Pairs with the driver's fence between its store of a doorbell and its reading of our
        // event index (Base §5.8).
        fullFence()
        do {
            try completion.readHead(quietly: true)
            if freeSlots.freeCount == 0 || completion.knownRoom(reserved: outstanding) <= 0 {
                return true
            }
            return try !submission.readTail()
        } catch {
            fail(error)
            return false
        }
    }

    /// As `IOQueue.hasNews`; commands that the control plane has are none.
    public func hasNews() -> Bool {
        phase != .running || memory.isDead || isParked || replay?.isEmpty == false || !ready.isEmpty
            || freeSlots.freeCount == 0 || completion.knownRoom(reserved: outstanding) <= 0
            || submission.hasNews
    }

    /// Tells the driver that MMIO writes are a waste.
    public mutating func disableDoorbellEvents() {
        // A queue that has stopped may be another holder's already.
        guard phase == .running else { return }
        submission.ignoreTail()
        completion.ignoreHead()
    }

    /// Interrupts the driver although nothing may have happened.
    public mutating func interruptAnyway() {
        if phase.answers, isInterruptEnabled, !interrupt.raise() { fail(.interruptBlocked) }
    }
}
