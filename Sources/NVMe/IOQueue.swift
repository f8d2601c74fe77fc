internal import Bdev
internal import Bounded
internal import CWire
public import Memory
public import Platform

/// A completion queue and the submission queues that complete into it, on one home reactor: takes
/// commands, has block devices do them, answers the driver (Base §3.3, NVM §3).
///
/// One turn is `poll`: doorbells are read, commands are checked and handed on as a batch,
/// completions are collected and posted, the driver is interrupted once. Nothing in it allocates,
/// locks or logs. Confined to one thread.
///
/// Before the first poll its submission queues are added and the namespaces attached: what a
/// predecessor left in flight is done again then.
public struct IOQueue: ~Copyable {
    /// Depth of the channels that are attached: tags are below it.
    public static let channelDepth = NVMeMemory.inFlightLimit
    /// Most bytes of a fused Compare and Write (Identify Controller, ACWU).
    public static let fusedByteLimit = NVMeMemory.stageByteCount
    /// Commands taken in one turn at most.
    static let turnLimit = 64

    struct Slot: BitwiseCopyable {
        enum Step: UInt8 {
            /// One request, and that is it.
            case single
            /// A flush comes next (FUA).
            case flushNext
            /// A flush of each namespace; `block` counts them.
            case flushEach
            /// Waits for the staging area, or has it.
            case staged
            case fused
        }

        var submission: UInt16
        var command: UInt16
        /// Place of its namespace.
        var place: UInt16
        var longRun = SegmentRoom.noLongRun
        var step = Step.single
        var operation = BlockOperation.read
        var blockCount: UInt32 = 0
        var block: UInt64 = 0
    }

    static let noPlace = UInt16.max

    var memory: HostMemory
    let journalMemory: NVMeMemory
    let journal: InFlightJournal
    let interrupt: any InterruptLine
    let isInterruptEnabled: Bool
    let shape: QueueShape
    public let counters: QueueCounters

    var completion: CompletionRing
    var submissions: BoundedArray<SubmissionRing>
    /// The one that a turn begins with.
    var firstSubmission = 0
    var namespaces = AttachedNamespaces()

    var slots: FixedTable<Slot>
    var freeSlots: SlotPool
    var room: SegmentRoom
    /// Where the last data pointer led to.
    var window = HostWindow()
    var batch: RequestBatch
    var completions: CompletionBatch
    /// Slots that wait for a long run.
    var waiting: BoundedQueue<UInt32>
    var stage: Stage
    var turn = QueueCounters.Reading()
    public internal(set) var phase = Phase.running
    /// What a predecessor had taken and not answered; nil until the ring was there to ask.
    var replay: SlotReplay?

    /// - Parameters:
    ///   - memory: where the rings lie; a ring that is not there parks the queue.
    ///   - journal: of the function; a journal that is in use is taken over.
    public init(
        _ setup: CompletionQueueSetup, memory: HostMemory, journal: NVMeMemory,
        interrupt: any InterruptLine, shape: QueueShape, counters: QueueCounters
    ) throws(QueueFault) {
        guard Int(setup.id) < journal.queueCount else { throw .badIdentifier }
        var ring = try CompletionRing(setup, memory: memory)
        // A completion is promised to each command, so more could never be under way.
        let slotCount = min(NVMeMemory.inFlightLimit, setup.size - 1)
        let log = InFlightJournal(journal.journal(setup.id))
        var left: [UInt32]?
        if !ring.isParked {
            left = try log.takeOver(&ring, of: journal, slotCount: slotCount)
        }
        completion = ring
        self.memory = memory
        journalMemory = journal
        self.journal = log
        self.interrupt = interrupt
        isInterruptEnabled = setup.isInterruptEnabled
        self.shape = shape
        self.counters = counters
        submissions = BoundedArray(capacity: journal.queueCount)
        slots = FixedTable(
            count: slotCount, repeating: Slot(submission: 0, command: 0, place: Self.noPlace))
        freeSlots = SlotPool(capacity: slotCount)
        room = SegmentRoom(slotCount: slotCount, transferByteLimit: shape.transferByteLimit)
        batch = RequestBatch(capacity: slotCount)
        completions = CompletionBatch(capacity: Self.turnLimit)
        waiting = BoundedQueue(capacity: slotCount)
        stage = Stage(journal.stage(setup.id).segment, slotCount: slotCount)
        if let left { adopt(left) }
    }

    /// Takes the journal over, once the ring is there.
    mutating func open() throws(QueueFault) {
        if completion.isParked || replay != nil { return }
        adopt(
            try journal.takeOver(
                &completion, of: journalMemory, slotCount: freeSlots.capacity))
    }

    private mutating func adopt(_ left: [UInt32]) {
        freeSlots.keep(left)
        replay = SlotReplay(slots: left)
    }

    public var id: UInt16 { completion.id }
    /// Commands taken and not yet answered.
    public var outstanding: Int { freeSlots.takenCount }

    /// Whether the completion queue or its doorbell is not in the host's memory just now.
    public var isParked: Bool { completion.isParked }

    /// When polling is useful without an event (rate limits, delays).
    public var wakeTime: Ticks? { outstanding == 0 ? nil : namespaces.wakeTime }

    // --- one turn ---

    /// Does one turn.
    /// - Returns: commands taken and answered; 0 means idle.
    public mutating func poll(now: Ticks) -> Int {
        if phase == .running, !completion.isParked {
            do { try fetch() } catch { fail(error) }
        }
        if outstanding == 0 && turn.received | turn.completed == 0 { return 0 }
        return settle(now: now)
    }

    /// Hands the batch on, collects what is finished, shows it to the driver.
    private mutating func settle(now: Ticks) -> Int {
        if completion.isParked && phase.answers { return 0 }
        if phase.answers { goOn() }
        if !batch.isEmpty || namespaces.hasOffers { submit(now: now) }
        let steps = reap(now: now)
        if steps && !batch.isEmpty { submit(now: now) }
        if memory.isDead { fail(.memoryGone) }
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

    private mutating func submit(now: Ticks) {
        if let channel = namespaces.only {
            batch.removeFirst(channel.submit(batch, from: 0, now: now))
            return
        }
        for index in 0..<batch.count {
            let request = batch[index]
            namespaces.offer(request, to: slots[Int(request.tag)].place)
        }
        batch.removeAll()
        namespaces.submit(now: now)
    }

    /// - Returns: whether a command took its next step.
    private mutating func reap(now: Ticks) -> Bool {
        var steps = false
        for place in 0..<namespaces.count {
            guard let channel = namespaces.channel(at: place), channel.outstanding > 0 else {
                continue
            }
            channel.poll(into: &completions, now: now)
            for index in 0..<completions.count {
                let ended = completions[index]
                let slot = slots[Int(ended.tag)]
                if slot.step == .single {
                    finish(ended.tag, slot, NVMeStatus(ended.status, slot.operation))
                } else {
                    steps = true
                    step(ended.tag, ended.status)
                }
            }
            completions.removeAll()
        }
        return steps
    }

    /// A command has ended: posts its completion, unless the driver has taken its memory back.
    @inline(__always)
    mutating func finish(_ number: UInt32, _ slot: Slot, _ status: NVMeStatus) {
        if phase.answers {
            let index = Int(slot.submission)
            // What is answered must not be taken again after a crash.
            if !submissions[index].isCommitted { submissions[index].commit() }
            journal.ending(number, at: completion.tail, phase: completion.phase)
            CrashPoint.journalEnding.reached()
            completion.post(
                result: 0, head: submissions[index].head, submission: submissions[index].id,
                command: slot.command, status: status)
            CrashPoint.completionPosted.reached()
            journal.moved(tail: completion.tail, phase: completion.phase)
            journal.ended(number)
            CrashPoint.journalEnded.reached()
        }
        if status != .success { turn.errors &+= 1 }
        if slot.longRun != SegmentRoom.noLongRun { room.giveBackLong(slot.longRun) }
        freeSlots.giveBack(number)
        turn.completed &+= 1
    }

    mutating func finish(_ number: UInt32, _ status: NVMeStatus) {
        finish(number, slots[Int(number)], status)
    }

    /// As `finish`, for what we find wrong ourselves.
    @inline(never)
    mutating func refuse(_ number: UInt32, _ status: NVMeStatus) {
        turn.refusals &+= 1
        finish(number, status)
    }
}

extension NVMeStatus {
    /// What a block device's answer means to the driver.
    @inline(__always)
    init(_ status: BlockStatus, _ operation: BlockOperation) {
        self = status == .success ? .success : NVMeStatus.failure(status, operation)
    }

    @inline(never)
    private static func failure(_ status: BlockStatus, _ operation: BlockOperation) -> NVMeStatus {
        switch status {
        case .success: .success
        case .failed: operation == .read ? .unrecoveredReadError : .writeFault
        case .invalid: .blockOutOfRange
        case .unsupported: .invalidOpcode
        case .noSpace: .capacityExceeded
        case .readOnly: .namespaceWriteProtected
        case .aborted: .abortRequested
        }
    }
}

/// Slots of commands that a predecessor had taken and not answered, to be done again in their
/// order.
struct SlotReplay {
    private var slots: [UInt32]
    private var index = 0
    private(set) var isEmpty: Bool

    init(slots: [UInt32]) {
        self.slots = slots
        isEmpty = slots.isEmpty
    }

    mutating func next() -> UInt32? {
        if isEmpty { return nil }
        let slot = slots[index]
        index += 1
        isEmpty = index == slots.count
        return slot
    }

    /// The slot that `next` gave last comes again.
    mutating func stepBack() {
        index -= 1
        isEmpty = false
    }
}

extension SlotPool {
    /// Takes exactly `slots`.
    mutating func keep(_ slots: [UInt32]) {
        precondition(takenCount == 0)
        while take() != nil {}
        for slot in (0..<UInt32(capacity)).reversed() where !slots.contains(slot) {
            giveBack(slot)
        }
    }
}
