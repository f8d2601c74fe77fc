internal import CWire
public import Memory

/// The device's side of one virtqueue (Virtio 1.2 §2.7, §2.8): takes chains, returns them used,
/// decides about notifications. Trusts nothing that the driver writes.
///
/// Both ring formats share this type; what differs is in `+Split` and `+Packed`.
public struct Virtqueue: ~Copyable {
    public let size: Int
    public let isPacked: Bool
    let usesEventIndex: Bool
    let allowsIndirect: Bool
    let memory: HostMemory
    let descriptors: SharedBytes
    /// The same memory, for reading whole descriptors.
    let table: SharedTable
    let driverArea: SharedBytes
    let deviceArea: SharedBytes
    public internal(set) var position: VirtqueuePosition
    /// Where the last descriptor pointed to.
    var window = HostWindow()
    /// Split: available index as last read. Entries up to it are there.
    var knownAvailable: UInt16
    /// Used index (split) or entries used since (packed) at the last interrupt decision.
    var signalledUsed: UInt16
    var usedSinceDecision = 0
    /// Packed: the descriptors of the chain that was taken last.
    var copy: RingCopy

    public init(_ setup: VirtqueueSetup, memory: HostMemory) throws(QueueFault) {
        let size = setup.size
        guard size > 0, size <= 32768, setup.isPacked || size & (size - 1) == 0 else {
            throw .badSize
        }
        let areas = Virtqueue.areaByteCounts(setup)
        let alignments: (UInt64, UInt64, UInt64) = setup.isPacked ? (16, 4, 4) : (16, 2, 4)
        guard setup.descriptorArea % alignments.0 == 0, setup.driverArea % alignments.1 == 0,
            setup.deviceArea % alignments.2 == 0
        else { throw .misaligned }
        guard
            let descriptors = memory.shared(
                atUserAddress: setup.descriptorArea, byteCount: areas.descriptor),
            let driver = memory.shared(atUserAddress: setup.driverArea, byteCount: areas.driver),
            let device = memory.shared(atUserAddress: setup.deviceArea, byteCount: areas.device)
        else { throw .notMapped }
        // A front end could map a region at an odd place of its file.
        guard let table = SharedTable(descriptors), driver.address % 2 == 0,
            device.address % 4 == 0,
            !setup.isPacked || driver.address % 4 == 0
        else { throw .misaligned }
        if setup.isPacked {
            guard Int(setup.position.nextAvailable) < size, Int(setup.position.nextUsed) < size
            else { throw .descriptorIndex }
        }
        self.size = size
        isPacked = setup.isPacked
        usesEventIndex = setup.usesEventIndex
        allowsIndirect = setup.allowsIndirect
        self.memory = memory
        self.descriptors = descriptors
        self.table = table
        driverArea = driver
        deviceArea = device
        position = setup.position
        knownAvailable = setup.position.nextAvailable
        signalledUsed = setup.position.nextUsed
        copy = RingCopy(capacity: setup.isPacked ? size : 1)
    }

    static func areaByteCounts(
        _ setup: VirtqueueSetup
    ) -> (descriptor: Int, driver: Int, device: Int) {
        if setup.isPacked { return (16 * setup.size, 4, 4) }
        // The trailing event index is there only when it was negotiated.
        let event = setup.usesEventIndex ? 2 : 0
        return (16 * setup.size, 4 + 2 * setup.size + event, 4 + 8 * setup.size + event)
    }

    /// Whether the driver has made another chain available.
    public mutating func hasWork() -> Bool { isPacked ? hasPackedWork() : hasSplitWork() }

    /// Takes the next available chain, its segments into `run`.
    /// - Returns: false when none is available. A fault means that the queue cannot go on.
    @inline(__always)
    mutating func next(_ chain: inout Chain, into run: SegmentRun) throws(QueueFault) -> Bool {
        isPacked ? try nextPacked(&chain, into: run) : try nextSplit(&chain, into: run)
    }

    /// Returns a chain to the driver with `written` bytes in its writable part. The driver sees it
    /// after `publish`.
    public mutating func use(id: UInt16, descriptorCount: UInt16, written: UInt32) {
        if isPacked {
            usePacked(id: id, descriptorCount: descriptorCount, written: written)
        } else {
            useSplit(id: id, written: written)
        }
    }

    /// Shows the driver everything that was used so far.
    /// - Returns: whether the driver wants an interrupt.
    public mutating func publish() -> Bool { isPacked ? publishPacked() : publishSplit() }

    /// Where the entries begin that were used since the last `publish`; our own place when they are
    /// the whole ring.
    var unpublishedStart: UInt16 {
        if !isPacked { return signalledUsed }
        if usedSinceDecision >= size { return position.nextUsed }
        let start = Int(position.nextUsed) &- usedSinceDecision
        return UInt16(truncatingIfNeeded: start < 0 ? start &+ size : start)
    }

    /// Asks the driver to kick at the next chain.
    /// - Returns: false when one is there already.
    public mutating func enableKicks() -> Bool {
        if isPacked { enablePackedKicks() } else { enableSplitKicks() }
        // Pairs with the driver's fence between its index store and its read of our wish
        // (Virtio 1.2 §2.7.13.3): one of us sees the other.
        fullFence()
        return !hasWork()
    }

    /// Tells the driver that kicks are a waste.
    public mutating func disableKicks() {
        if isPacked { disablePackedKicks() } else { disableSplitKicks() }
    }
}
