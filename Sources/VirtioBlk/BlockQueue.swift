public import Bdev
internal import Bounded
internal import CWire
public import Memory
public import Platform

/// One request queue of a virtio block device: takes requests off the ring, has a block device do
/// them, answers the driver (Virtio 1.2 §5.2.6).
///
/// One turn is `poll`: doorbell state is read, requests are checked and handed on as one batch,
/// completions are collected, the used ring is published once and the driver interrupted once.
/// Nothing in it allocates, locks or logs. Confined to one thread.
public struct BlockQueue: ~Copyable {
    /// Requests started, and answered, in one turn at most.
    static let turnLimit = 64

    public struct Configuration: Sendable {
        public var shape: BlockShape
        /// What GET_ID answers, cut to 20 bytes.
        public var identifier: [UInt8]
        /// Answer requests in the order they came.
        public var isInOrder: Bool

        public init(shape: BlockShape, identifier: [UInt8], isInOrder: Bool) {
            self.shape = shape
            self.identifier = identifier
            self.isInOrder = isInOrder
        }
    }

    struct Slot: BitwiseCopyable {
        var id: UInt16
        var descriptorCount: UInt16
        /// Packed: its entry in the in-flight log.
        var logEntry: UInt16 = 0
        /// Where the status byte goes; empty when the chain has no place for one.
        var status: HostSegment
        /// Where it writes data.
        var input = SegmentList.empty
        /// Bytes in the writable part when the request succeeds.
        var written: UInt32 = 0
        var longRun: UInt32
        var outcome: UInt8 = 0
        var isFinished = false

        static let noLongRun = UInt32.max

        init(id: UInt16, descriptorCount: UInt16, status: HostSegment, longRun: UInt32) {
            self.id = id
            self.descriptorCount = descriptorCount
            self.status = status
            self.longRun = longRun
        }
    }

    var ring: Virtqueue
    var log: InflightLog?
    var packedLog: PackedInflightLog?
    var parser: BlockRequestParser
    var identifier: [UInt8]
    let isInOrder: Bool
    let interrupt: any InterruptLine
    var channel: BlockChannel?
    public let counters: QueueCounters

    var slots: FixedTable<Slot>
    var freeSlots: SlotPool
    var room: SegmentRoom
    var batch: RequestBatch
    var completions: CompletionBatch
    /// Slots in the order of arrival; used only when answers keep that order.
    var arrivals: BoundedQueue<UInt32>
    var turn = QueueCounters.Reading()
    public internal(set) var phase = Phase.running
    var replay: Replay
    /// Nil while nobody wants to know what is written.
    var dirty: DirtyMarks?

    /// - Parameters:
    ///   - area: the in-flight area; nil when nobody keeps one.
    ///   - dirty: how writes are marked, those of a predecessor first.
    public init(
        _ setup: VirtqueueSetup, memory: HostMemory, log area: SharedBytes?,
        configuration: Configuration, channel: BlockChannel?, interrupt: any InterruptLine,
        counters: QueueCounters, dirty: DirtyMarks? = nil
    ) throws(QueueFault) {
        var ring = try Virtqueue(setup, memory: memory)
        var log: InflightLog?
        var packedLog: PackedInflightLog?
        var replay = Replay()
        if let area, setup.isPacked {
            var opened = try PackedInflightLog(
                area: area, queueSize: setup.size, position: setup.position)
            var position = ring.position
            replay = try opened.takeOver(&position) {
                !ring.isAvailable(at: $0.usedIndex, wrap: $0.usedWrap)
            }
            ring.position = position
            packedLog = consume opened
        } else if let area {
            var opened = try InflightLog(
                area: area, queueSize: setup.size, usedIndex: ring.ringUsedIndex())
            replay = opened.takeOver(&ring)
            log = consume opened
        }
        self.ring = ring
        self.log = log
        self.packedLog = packedLog
        self.replay = replay
        parser = BlockRequestParser(shape: configuration.shape)
        identifier = Array(configuration.identifier.prefix(VIRTIO_BLK_ID_BYTES))
        isInOrder = configuration.isInOrder
        self.interrupt = interrupt
        self.channel = channel
        self.counters = counters
        let size = setup.size
        freeSlots = SlotPool(capacity: size)
        room = SegmentRoom(
            slotCount: size, segmentLimit: Int(configuration.shape.segmentLimit))
        slots = FixedTable(
            count: size,
            repeating: Slot(
                id: 0, descriptorCount: 0, status: .empty, longRun: Slot.noLongRun))
        batch = RequestBatch(capacity: min(size, Self.turnLimit))
        completions = CompletionBatch(capacity: Self.turnLimit)
        arrivals = BoundedQueue(capacity: size)
        self.dirty = dirty
        markRing()
        markReplay()
    }

    /// Chains taken and not yet answered.
    public var outstanding: Int { freeSlots.takenCount }
    public var position: VirtqueuePosition { ring.position }
    public var size: Int { ring.size }
    public var isPacked: Bool { ring.isPacked }

    /// When polling is useful without an event (rate limits, delays).
    public var wakeTime: Ticks? { channel?.wakeTime }

    // --- one turn ---

    /// Does one turn.
    /// - Returns: requests started and answered; 0 means idle.
    public mutating func poll(now: Ticks) -> Int {
        if phase == .running && ring.hasWork() || phase.answers && !replay.isEmpty {
            do { try fetch() } catch { fail(error) }
        }
        if outstanding == 0 && turn.received == 0 { return 0 }
        return settle(now: now)
    }

    /// Hands the batch on, collects what is finished, shows it to the driver.
    private mutating func settle(now: Ticks) -> Int {
        if !batch.isEmpty { submit(now: now) }
        reap(now: now)
        if ring.memory.isDead { fail(.memoryGone) }
        if hasLostMarks { fail(.dirtyLogGone) }
        if phase.answers, turn.completed > 0 { publish() }
        let done = Int(turn.received &+ turn.completed)
        if done > 0 {
            counters.add(turn)
            turn = QueueCounters.Reading()
        }
        return done
    }

    private mutating func submit(now: Ticks) {
        guard let channel else { return refuseBatch() }
        let taken = channel.submit(batch, from: 0, now: now)
        batch.removeFirst(taken)
    }

    /// Without a block device every request fails (the disk stays visible, with capacity 0).
    private mutating func refuseBatch() {
        for index in 0..<batch.count {
            finish(batch[index].tag, status: UInt8(VIRTIO_BLK_STATUS_IOERR))
        }
        batch.removeAll()
    }

    private mutating func reap(now: Ticks) {
        guard let channel, channel.outstanding > 0 else { return }
        channel.poll(into: &completions, now: now)
        for index in 0..<completions.count {
            let completion = completions[index]
            finish(completion.tag, status: Self.status(for: completion.status))
        }
        completions.removeAll()
    }

    private static func status(for status: BlockStatus) -> UInt8 {
        switch status {
        case .success: UInt8(VIRTIO_BLK_STATUS_OK)
        case .unsupported: UInt8(VIRTIO_BLK_STATUS_UNSUPP)
        case .failed, .invalid, .noSpace, .readOnly, .aborted: UInt8(VIRTIO_BLK_STATUS_IOERR)
        }
    }

    private mutating func publish() {
        let start = ring.unpublishedStart
        let wanted = ring.publish()
        if dirty != nil { markUsed(since: start) }
        if log != nil { log?.ended(usedIndex: ring.position.nextUsed) }
        if wanted, !interrupt.raise() { fail(.interruptBlocked) }
    }
}
