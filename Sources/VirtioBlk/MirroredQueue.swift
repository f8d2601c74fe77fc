public import Bdev
internal import Bounded
internal import CWire
public import Memory
public import Platform

/// A block queue whose ring lies in host memory that is reached by transfers only.
///
/// It is a driver to a `BlockQueue` of its own, whose ring and data lie in the staging area: what
/// the host's driver makes available is read, stage by stage, checked, and put on that ring as a
/// request in one piece; what the device model has used is written back. So there is one device
/// model for both data paths, and it knows of neither.
///
/// What one stage needs is known before its transfers begin, so nothing depends on the order in
/// which reads look at their bytes:
///
///     available index → entries and descriptor table → indirect tables → headers and data
///     → the device model → data, status, used entries, used index, interrupt
///
/// (of a packed ring: the next descriptor → the ring → …; used descriptors.) The last line is one
/// batch, in this order; the in-flight log of the host's side is written in the same batch
/// (`+Journal`, `+PackedJournal`). One batch of answers is under way at a time.
/// Confined to one thread.
public final class MirroredQueue: TransferClient {
    /// Chains under way at once.
    static let slotLimit = 128
    /// Most data of one request: chunks for it.
    static let dataChunkLimit = 32

    /// Where the ring lies, and its in-flight log.
    public struct Place: Sendable {
        public var memory: RemoteMemory
        /// The queue's in-flight area, as the host's side has registered it; nil: nobody keeps one.
        public var log: RemoteAddress?
        /// Life of the ring that the log must be of, its first word; nil for a log that the front
        /// end keeps.
        public var run: UInt64?

        public init(memory: RemoteMemory, log: RemoteAddress?, run: UInt64?) {
            self.memory = memory
            self.log = log
            self.run = run
        }
    }

    /// Reads of the available index without news, after which the driver is asked for kicks.
    static let idleLookLimit = 4

    /// What it is doing as a whole.
    enum Stage {
        /// Reads what a predecessor has left.
        case opening
        case open
        /// Transfers fail: nothing here means anything any more.
        case lost
    }

    let setup: VirtqueueSetup
    let place: Place
    let areas: RemoteAreas
    let cells: MirrorCells
    let staging: StagingArea
    let channel: any HostChannel
    /// As the channel knows it.
    private let number: UInt32
    /// The device model, on the ring in the staging area.
    var model: BlockQueue

    var stage = Stage.opening
    public internal(set) var phase = BlockQueue.Phase.running
    var batch: TransferBatch
    /// Transfers that were submitted and have not ended.
    var underWay = 0
    /// Ends since the last turn.
    private var news = 0
    var reads = FetchState()
    var answers: AnswerState
    var journal = JournalState()

    var slots: FixedTable<MirrorSlot>
    var freeSlots: SlotPool
    var pieces: PieceRoom
    /// By slot, `dataChunkLimit + 2` places: its chunks.
    var chunkTable: FixedTable<UInt32>
    /// Slots that wait for their indirect table, or for chunks, oldest first.
    var unstaged: BoundedQueue<UInt32>
    /// Slots whose requests the device model has yet to see, oldest first.
    var arrivals: BoundedQueue<UInt32>
    var replay = Replay()
    /// The next entry of the host's ring to take, and to be used.
    public internal(set) var position: VirtqueuePosition
    /// Packed: flags of the ring before the copy was read, the chain that was taken last, and the
    /// log of the host's side as it is written there.
    var seenFlags: FixedTable<UInt16>
    var chainCopy: RingCopy
    var packedLog: PackedInflightLog?
    var nextSequence: UInt64 = 0

    /// - Parameter message: what the host's side takes as this queue's interrupt, at most 16 bytes.
    public init(
        _ setup: VirtqueueSetup, at place: Place, staging: StagingArea,
        channel: any HostChannel, number: UInt32, configuration: BlockQueue.Configuration,
        device: BlockChannel?, counters: QueueCounters, message: [UInt8]
    ) throws(QueueFault) {
        guard setup.size > 0, setup.size <= 32768,
            setup.isPacked || setup.size & (setup.size - 1) == 0
        else { throw .badSize }
        areas = try RemoteAreas(setup, place.memory)
        // The model's ring is a split one: a power of two.
        var slotCount = 1
        while slotCount < min(setup.size, Self.slotLimit) { slotCount *= 2 }
        guard
            let cells = MirrorCells(
                in: staging, ringSize: setup.size, isPacked: setup.isPacked, slotCount: slotCount,
                message: message)
        else { throw .stagingFull }
        self.setup = setup
        self.place = place
        self.cells = cells
        self.staging = staging
        self.channel = channel
        self.number = number
        model = try BlockQueue(
            cells.modelSetup, memory: staging.memory, log: nil, configuration: configuration,
            channel: device, interrupt: NoInterrupt(), counters: counters)
        let segmentLimit = Int(configuration.shape.segmentLimit)
        pieces = PieceRoom(slotCount: slotCount, segmentLimit: segmentLimit)
        // What one answer, or the stages of one chain, take at most; and some more.
        batch = TransferBatch(
            capacity: 4 * slotCount + 2 * (pieces.longLength + Self.dataChunkLimit) + 64
                + (setup.isPacked ? setup.size : 0))
        answers = AnswerState(capacity: slotCount)
        slots = FixedTable(count: slotCount, repeating: MirrorSlot())
        freeSlots = SlotPool(capacity: slotCount)
        chunkTable = FixedTable(count: slotCount * (Self.dataChunkLimit + 2), repeating: 0)
        unstaged = BoundedQueue(capacity: slotCount)
        arrivals = BoundedQueue(capacity: slotCount)
        position = setup.position
        if setup.isPacked {
            guard Int(position.nextAvailable) < setup.size, Int(position.nextUsed) < setup.size
            else { throw .descriptorIndex }
        } else {
            position.nextUsed = position.nextAvailable
        }
        seenFlags = FixedTable(count: setup.isPacked ? setup.size : 1, repeating: 0)
        chainCopy = RingCopy(capacity: setup.isPacked ? setup.size : 1)
        cells.quietModel()
    }

    /// The staging memory is free when nothing is under way any more.
    public func close() {
        precondition(underWay == 0, "transfers still use the staging area")
        for slot in 0..<slots.count where freeSlots.isTaken(UInt32(slot)) {
            giveBackChunks(UInt32(slot))
        }
        staging.giveBack(cells.part)
    }

    // --- state ---

    /// Chains taken and not yet answered.
    public var outstanding: Int { freeSlots.takenCount }
    public var size: Int { setup.size }
    public var wakeTime: Ticks? { hasNews || canSend ? Ticks(0) : model.wakeTime }
    /// Whether host memory can no longer be reached: not a fault of the driver.
    public var isLost: Bool { stage == .lost }
    /// Whether it waits for nothing but a kick.
    public var isAsleep: Bool {
        if phase != .running || stage == .lost { return true }
        return stage == .open && reads.wish == .asleep && !reads.isKicked
    }
    /// Whether it has looked, and nothing waits or is under way.
    public var isIdle: Bool { isAsleep && outstanding == 0 }
    private var hasNews: Bool {
        if news > 0 { return true }
        return phase == .running && stage == .open && (reads.isKicked || answers.owesInterrupt)
    }
    /// Whether transfers wait for room on a channel that is open: nobody says when there is some.
    public var canSend: Bool { !batch.isEmpty && channel.isOpen }

    /// Whether nothing is under way any more.
    public var isDrained: Bool {
        guard underWay == 0 else { return false }
        if stage == .lost || !phase.answers { return model.outstanding == 0 }
        return phase == .draining && stage == .open && outstanding == 0 && replay.isEmpty
            && batch.isEmpty
    }

    /// Stops taking chains; what is under way is answered, what a predecessor had taken too. Then
    /// nothing more is transferred, not even an interrupt that is due: whoever goes on with the
    /// ring begins with one, and `resume` makes up for it.
    public func drain() { if phase == .running { phase = .draining } }

    /// Takes chains again after a drain.
    public func resume() {
        guard phase == .draining else { return }
        phase = .running
        reads.wish = .polling
    }

    /// The driver has taken the ring back: nothing more is written, as far as nothing is under way.
    public func discard() {
        if case .failed = phase {} else { phase = .discarding }
        dropBatch()
        model.discard()
    }

    /// The queue cannot go on. The driver sees no further answer until it resets the device.
    func fail(_ fault: QueueFault) {
        guard phase.answers else { return }
        phase = .failed(fault)
        dropBatch()
        model.discard()
    }

    private func lose() {
        if stage == .lost { return }
        stage = .lost
        dropBatch()
        model.discard()
    }

    private func dropBatch() { batch.removeAll() }

    /// There may be work.
    public func kick() { reads.isKicked = true }

    /// Interrupts the driver although nothing may have happened. A drained queue does it later.
    public func interruptAnyway() { answers.owesInterrupt = true }

    // --- turns ---

    /// Does one turn.
    /// - Returns: ends taken, requests started and answered; 0 means idle.
    public func poll(now: Ticks) -> Int {
        let ended = news
        news = 0
        if stage == .opening { open() }
        guard stage == .open else { return ended &+ endModel(now: now) }
        if phase.answers {
            do { try fetch() } catch { fail(error) }
        }
        let done = model.poll(now: now)
        if case .failed(let fault) = model.phase { fail(fault) }
        if phase.answers { answer() }
        send()
        return ended &+ done
    }

    /// What storage still does comes to its end, unheard.
    private func endModel(now: Ticks) -> Int {
        if stage == .opening { send() }
        return model.outstanding > 0 ? model.poll(now: now) : 0
    }

    private func send() {
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
        batch.append(
            HostTransfer(kind, tag: tag.rawValue, local: local, remote: remote))
    }

    public func ended(_ tag: UInt32, isWell: Bool) {
        underWay &-= 1
        news &+= 1
        if !isWell { return lose() }
        if stage == .lost || !phase.answers { return }
        switch MirrorTag(rawValue: tag).kind {
        case .opening: journal.pendingReads &-= 1
        case .index: indexIsThere()
        case .entries: reads.pendingEntries &-= 1
        case .table: slots[MirrorTag(rawValue: tag).slot].step = .walking
        case .journal: slots[MirrorTag(rawValue: tag).slot].pendingRecords &-= 1
        case .payload: slots[MirrorTag(rawValue: tag).slot].pendingReads &-= 1
        case .answer: answerEnded()
        case .other: break
        }
    }

    public func channelFailed() { lose() }

    /// Exchanges the block device. The queue is drained.
    public func attach(_ device: BlockChannel?, shape: BlockShape, identifier: [UInt8]) {
        model.attach(device, shape: shape, identifier: identifier)
    }

    public func setShape(_ shape: BlockShape) { model.setShape(shape) }
    public func abandonHeld() { model.abandonHeld() }
}

/// The device model's interrupts go nowhere: its driver looks.
private final class NoInterrupt: InterruptLine {
    func raise() -> Bool { true }
}
