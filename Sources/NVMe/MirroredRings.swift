internal import Bounded
public import Memory

/// A completion queue and its submission queues in host memory that is reached by transfers only:
/// takes commands, moves their data through the staging area, posts completions. What a command
/// means is its owner's business (`MirroredIOQueue`).
///
/// One stage begins when the transfers of the one before have ended:
///
///     doorbells → entries → PRP lists and SGL segments → data → the owner
///     → data, completion entries, interrupt
///
/// The last line is one batch, in this order, which the channel keeps: the driver sees no entry
/// before its data, and no interrupt before its entry. One batch of answers is under way at a time.
///
/// The in-flight journal is in function memory, which is not the host's: its stores have the order
/// that `InFlightJournal` states, where a completion is "stored" when its transfer has ended. The
/// place of a completion is in the journal before its transfer begins, so a successor, who comes
/// after the queue pair has gone, finds each completion at its place or not at all.
///
/// Confined to one thread.
final class MirroredRings: TransferClient {
    /// Most data of one command: chunks for it.
    static let dataChunkLimit = 16
    /// Looks at doorbells in host memory without news, after which the driver is asked for events.
    static let idleLookLimit = 4

    enum Stage {
        /// Looks at what a predecessor has left.
        case opening
        case open
        /// Transfers fail: nothing here means anything any more.
        case lost
    }

    /// Whether the driver is asked to write doorbells that lie in host memory to the BAR as well.
    enum Wish {
        case polling
        case shallAsk
        /// It has been asked; one more look follows.
        case asking
        case asleep
    }

    let staging: StagingArea
    let channel: any HostChannel
    let number: UInt32
    var memory: RemoteMemory
    let journalMemory: NVMeMemory
    let journal: InFlightJournal
    let isInterruptEnabled: Bool
    let transferByteLimit: Int
    /// Commands answered at once: with 1, in the order in which they ended.
    let answerLimit: Int
    let cells: MirrorCells
    /// Of function memory that is on another machine.
    let far: FarJournal?

    var stage = Stage.opening
    var phase = IOQueue.Phase.running
    var batch: TransferBatch
    /// Transfers that were submitted and have not ended.
    private(set) var underWay = 0
    /// Ends since the last turn.
    var news = 0
    /// What an end has shown to be wrong.
    private var fault: QueueFault?

    var completion: MirrorCompletion
    var submissions: BoundedArray<MirrorSubmission>
    /// Copies of submission queues, by their place.
    var windows: [StagingArea.Part] = []
    var firstSubmission = 0
    var slots: FixedTable<MirrorSlot>
    var freeSlots: SlotPool
    var pieces: PieceRoom
    /// By slot, `dataChunkLimit` places: its chunks.
    var chunkTable: FixedTable<UInt32>
    /// Taken, and not yet seen by the owner.
    var fresh: BoundedQueue<UInt32>
    /// Slots that wait for chunks, and those that wait for a long run, oldest first.
    var waiting: BoundedQueue<UInt32>
    var cramped: BoundedQueue<UInt32>
    /// Slots whose data is where the owner wants it, or cannot be; in no order.
    var prepared: BoundedQueue<UInt32>
    /// Slots to be answered.
    var finished: BoundedQueue<UInt32>
    /// Those of the batch of answers that is under way.
    var answers: BoundedArray<UInt32>
    var answersUnderWay = 0
    var owesInterrupt = false

    var openingReads = 0
    var isOpeningAsked = false
    var replay: SlotReplay?
    var wish = Wish.polling
    var isKicked = false
    var looksUnderWay = 0
    /// Values of doorbells on their way to host memory.
    var stores = 0
    var emptyLooks = 0
    /// Commands that were taken and may not be in a far journal yet, in groups.
    var journalsUnderWay = 0

    init(
        _ setup: CompletionQueueSetup, memory: RemoteMemory, journal: NVMeMemory,
        link: MirrorLink, transferByteLimit: Int, answerLimit: Int = .max
    ) throws(QueueFault) {
        guard Int(setup.id) < journal.queueCount else { throw .badIdentifier }
        let slotCount = min(NVMeMemory.inFlightLimit, setup.size - 1)
        completion = try MirrorCompletion(setup, memory: memory)
        guard
            let cells = MirrorCells(
                in: link.staging, slotCount: slotCount, queueCount: journal.queueCount,
                message: link.message)
        else { throw .stagingFull }
        far =
            journal.changes == nil
            ? nil
            : FarJournal(
                in: link.staging, slotCount: slotCount, start: journal.journalOffset(setup.id))
        if journal.changes != nil, far == nil {
            link.staging.giveBack(cells.part)
            throw .stagingFull
        }
        self.cells = cells
        staging = link.staging
        channel = link.channel
        number = link.number
        self.memory = memory
        journalMemory = journal
        self.journal = InFlightJournal(journal.journal(setup.id))
        isInterruptEnabled = setup.isInterruptEnabled
        self.transferByteLimit = transferByteLimit
        self.answerLimit = answerLimit
        submissions = BoundedArray(capacity: journal.queueCount)
        slots = FixedTable(count: slotCount, repeating: MirrorSlot(submission: 0, command: 0))
        freeSlots = SlotPool(capacity: slotCount)
        pieces = PieceRoom(slotCount: slotCount, transferByteLimit: transferByteLimit)
        batch = TransferBatch(
            capacity: 2 * (pieces.longLength + Self.dataChunkLimit) + 2 * slotCount
                + 4 * journal.queueCount + 64
                // When all is taken, taken over and answered at once.
                + (far == nil ? 0 : 3 * Self.farWriteLimit * slotCount + journal.queueCount))
        chunkTable = FixedTable(count: slotCount * Self.dataChunkLimit, repeating: 0)
        fresh = BoundedQueue(capacity: slotCount)
        waiting = BoundedQueue(capacity: slotCount)
        cramped = BoundedQueue(capacity: slotCount)
        prepared = BoundedQueue(capacity: slotCount)
        finished = BoundedQueue(capacity: slotCount)
        answers = BoundedArray(capacity: slotCount)
    }

    /// The staging memory is free when nothing is under way any more.
    func close() {
        precondition(underWay == 0, "transfers still use the staging area")
        giveBackAllChunks()
        for window in windows { staging.giveBack(window) }
        windows = []
        staging.giveBack(cells.part)
        if let far { staging.giveBack(far.part) }
    }

    /// Others may wait for them, and whoever is to close lost rings for those others.
    /// - Precondition: neither transfers nor the owner's device use them any more.
    func giveBackAllChunks() {
        for slot in 0..<UInt32(slots.count) where freeSlots.isTaken(slot) { giveBackChunks(slot) }
    }

    // --- state ---

    var outstanding: Int { freeSlots.takenCount }
    var isLost: Bool { stage == .lost }
    /// Whether transfers wait for room on a channel that is open: nobody says when there is some.
    var canSend: Bool { !batch.isEmpty && channel.isOpen }
    var isParked: Bool { completion.isParked || isFar && memory.device == nil }
    /// Whether nothing but a doorbell has it do something.
    var isAsleep: Bool {
        if phase != .running || stage == .lost { return true }
        if stage == .opening { return isParked }
        return looksUnderWay == 0 && !hasNews
    }

    /// Whether a turn has something to do.
    var hasNews: Bool {
        if news > 0 || canSend || fault != nil { return true }
        guard phase.answers, stage != .lost else { return false }
        if stage == .opening { return !isParked && !isOpeningAsked }
        if !finished.isEmpty && answersUnderWay == 0 && !isParked { return true }
        if !prepared.isEmpty { return true }
        if canGoOn { return true }
        guard phase == .running, !isParked else { return false }
        return owesInterrupt || isLookDue || hasRings
    }

    /// Whether nothing of ours is under way any more.
    var isDrained: Bool {
        guard underWay == 0 else { return false }
        if stage == .lost || !phase.answers { return true }
        guard phase == .draining, batch.isEmpty else { return false }
        if stage == .opening { return isParked || freeSlots.takenCount == 0 && isOpeningAsked }
        return outstanding == 0 && replay?.isEmpty != false
    }

    func drain() { if phase == .running { phase = .draining } }

    func resume() {
        guard phase == .draining else { return }
        phase = .running
        wish = .polling
    }

    func discard() {
        if case .failed = phase {} else { phase = .discarding }
        batch.removeAll()
    }

    func fail(_ fault: QueueFault) {
        guard phase.answers else { return }
        phase = .failed(fault)
        batch.removeAll()
    }

    private func lose() {
        stage = .lost
        batch.removeAll()
    }

    // --- transfers ---

    func send() {
        if batch.isEmpty { return }
        let taken = channel.submit(batch, for: number)
        underWay &+= taken
        batch.removeFirst(taken)
    }

    /// Adds a transfer; whoever calls has looked for room.
    @inline(__always)
    func add(
        _ kind: HostTransfer.Kind, _ tag: MirrorTag, _ local: HostSegment,
        _ remote: RemoteAddress
    ) {
        batch.append(HostTransfer(kind, tag: tag.rawValue, local: local, remote: remote))
    }

    func ended(_ tag: UInt32, isWell: Bool) {
        underWay &-= 1
        news &+= 1
        if !isWell { return lose() }
        let tag = MirrorTag(rawValue: tag)
        // What stands in the host's ring is not posted again, whatever has become of the queue.
        if tag.kind == .answer, stage != .lost { return answerEnded() }
        if stage == .lost || !phase.answers { return }
        switch tag.kind {
        case .opening: openingReads &-= 1
        case .doorbell:
            looksUnderWay &-= 1
            if looksUnderWay == 0 {
                do throws(QueueFault) { try doorbellsAreThere() } catch { fault = error }
            }
        case .entries: submissions[tag.slot].isReading = false
        case .table: slots[tag.slot].step = .walking
        case .payload:
            slots[tag.slot].pendingReads &-= 1
            if slots[tag.slot].pendingReads == 0 { settle(UInt32(tag.slot), .ready) }
        case .store: stored(tag.slot)
        case .former: formerIsThere(tag.slot)
        case .journal: journalsUnderWay &-= 1
        case .answer, .other: break
        }
    }

    func channelFailed() { lose() }

    // --- turns ---

    /// Takes what there is to take. `fresh` names it.
    func begin() {
        news = 0
        if let found = fault {
            fault = nil
            fail(found)
        }
        do throws(QueueFault) {
            if stage == .opening, phase.answers { try open() }
            guard stage == .open, phase.answers else { return }
            goOn()
            try fetch()
        } catch { fail(error) }
    }

    /// Writes what has been answered.
    func end() {
        if stage == .open, phase.answers { writeAnswers() }
        if stage != .lost { send() }
    }
}

/// What mirrored rings reach the host by.
public struct MirrorLink {
    public let staging: StagingArea
    public let channel: any HostChannel
    /// As the channel knows its client.
    public let number: UInt32
    /// What the host's side takes as the queue's interrupt, at most 16 bytes.
    public let message: [UInt8]

    public init(
        staging: StagingArea, channel: any HostChannel, number: UInt32, message: [UInt8]
    ) {
        self.staging = staging
        self.channel = channel
        self.number = number
        self.message = message
    }
}
