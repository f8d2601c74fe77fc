public import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// Stopping, resetting, failing and going on.
extension BlockQueue {
    /// Where a queue is in its life. The legal steps:
    ///
    ///     running ── drain ──▶ draining ── resume ──▶ running
    ///        │                    │
    ///        ├── discard ─────────┴──▶ discarding
    ///        └── a fault ────────────▶ failed
    public enum Phase: Equatable, Sendable {
        case running
        /// Takes nothing new; what is under way is answered, what a predecessor had taken too.
        case draining
        /// The driver has reset the device: nothing more goes to its memory's rings.
        case discarding
        case failed(QueueFault)

        var answers: Bool { self == .running || self == .draining }
    }

    /// Whether nothing is under way any more.
    public var isDrained: Bool {
        outstanding == 0 && phase != .running && (replay.isEmpty || !phase.answers)
    }

    /// Stops taking requests.
    public mutating func drain() {
        if phase == .running { phase = .draining }
    }

    /// The driver has taken the rings back (device reset). What a device still does must end, and
    /// is not answered.
    public mutating func discard() {
        if case .failed = phase {} else { phase = .discarding }
        dropBatch()
        channel?.abandonHeld()
    }

    /// Ends requests that wait for something other than a device. For a drain past its deadline.
    public mutating func abandonHeld() { channel?.abandonHeld() }

    /// Takes requests again after a drain.
    public mutating func resume() {
        if phase == .draining { phase = .running }
    }

    /// The queue cannot go on. The driver sees no further answer until it resets the device.
    mutating func fail(_ fault: QueueFault) {
        guard phase.answers else { return }
        // Memory that is gone reads as zeros, which look like any other fault.
        phase = .failed(ring.memory.isDead ? .memoryGone : fault)
        dropBatch()
        channel?.abandonHeld()
    }

    private mutating func dropBatch() {
        for index in 0..<batch.count { finish(batch[index].tag, status: 1) }
        batch.removeAll()
    }

    /// Exchanges the block device. The queue is drained.
    public mutating func attach(
        _ channel: BlockChannel?, shape: BlockShape, identifier: [UInt8]
    ) {
        precondition(outstanding == 0, "the block device changes only under a drained queue")
        self.channel = channel
        self.identifier = Array(identifier.prefix(VIRTIO_BLK_ID_BYTES))
        parser = BlockRequestParser(shape: shape)
    }

    /// New capacity or limits; legal at any time.
    public mutating func setShape(_ shape: BlockShape) {
        parser = BlockRequestParser(shape: shape)
    }

    // --- notifications ---

    /// Before the queue is left alone: asks the driver for kicks.
    /// - Returns: false when there is work already.
    public mutating func enableKicks() -> Bool {
        guard phase == .running else { return true }
        if ring.memory.isDead {
            fail(.memoryGone)
            return false
        }
        // Requests that found no slot, or no long run, wait for completions, not for kicks.
        if !batch.isEmpty { return true }
        let isQuiet = ring.enableKicks()
        if dirty != nil { markKickWish() }
        return isQuiet || freeSlots.freeCount == 0
    }

    /// A queue that has stopped leaves the ring alone: it may be another holder's already.
    public mutating func disableKicks() {
        guard phase == .running else { return }
        ring.disableKicks()
        if dirty != nil { markKickWish() }
    }

    /// Interrupts the driver although nothing may have happened: after adoption, and when its
    /// descriptor changes (a spurious interrupt is legal, a missing one is not).
    public mutating func interruptAnyway() {
        if phase.answers, !interrupt.raise() { fail(.interruptBlocked) }
    }
}

/// Heads that a predecessor had taken and not answered, to be done again in their order.
struct Replay {
    private(set) var heads: [UInt16] = []
    private var index = 0
    private(set) var isEmpty = true

    init(heads: [UInt16] = []) {
        self.heads = heads
        isEmpty = heads.isEmpty
    }

    /// The next of them; there is one.
    var next: UInt16 { heads[index] }
    mutating func advance() {
        index += 1
        isEmpty = index == heads.count
    }
}

extension InflightLog {
    /// Puts the ring where the log says, and lists what has to be done again.
    mutating func takeOver(_ ring: inout Virtqueue) -> Replay {
        let used = ring.ringUsedIndex()
        if isFresh {
            ring.resume(usedIndex: used, nextAvailable: ring.position.nextAvailable)
            return Replay()
        }
        let heads = outstanding()
        adopt(heads)
        ring.resume(usedIndex: used, nextAvailable: used &+ UInt16(heads.count))
        return Replay(heads: heads)
    }
}

extension PackedInflightLog {
    /// Puts the ring where the log says, and lists what has to be done again.
    /// - Parameter isUsed: as of `settle`.
    mutating func takeOver(
        _ position: inout VirtqueuePosition, isUsed: (Standing) -> Bool
    ) throws(QueueFault) -> Replay {
        if isFresh { return Replay() }
        let kept = try settle(isUsed: isUsed)
        let heads = outstanding()
        let taken = heads.reduce(0) { $0 + descriptorCount($1) }
        guard taken <= size else { throw .inflightRegion }
        position.resume(kept, descriptorsTaken: taken, size: size)
        return Replay(heads: heads)
    }
}

extension Virtqueue {
    /// The used index that the driver can see; 0 for a packed ring, which has none.
    func ringUsedIndex() -> UInt16 { isPacked ? 0 : deviceArea.loadAcquire16(at: 2) }

    /// Goes on where a predecessor stopped: everything before is used or in its log.
    mutating func resume(usedIndex: UInt16, nextAvailable: UInt16) {
        position.nextUsed = usedIndex
        signalledUsed = usedIndex
        position.nextAvailable = nextAvailable
        knownAvailable = nextAvailable
    }

    /// Puts chains taken since `mark` back.
    mutating func rewind(to mark: VirtqueuePosition) {
        position.nextAvailable = mark.nextAvailable
        position.availableWrap = mark.availableWrap
    }
}
