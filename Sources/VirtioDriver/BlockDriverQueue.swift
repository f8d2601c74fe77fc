internal import CWire
public import Memory

/// The driver's side of one virtio-blk request queue (Virtio 1.2 §2.7, §2.8, §5.2): a fixed number
/// of slots, each with its header, status byte and data buffer.
///
/// For figures and for tests; it trusts the device to return what it was given, and says when it
/// does not.
public struct BlockDriverQueue: ~Copyable {
    public struct Layout: Sendable {
        public var queueSize: Int
        public var slotCount: Int
        /// Bytes of a slot's data buffer.
        public var bufferByteCount: Int
        /// Pieces that each request's data is cut into.
        public var segmentCount = 1
        public var isPacked = false
        public var usesEventIndex = false
        public var usesIndirect = false

        public init(queueSize: Int, slotCount: Int, bufferByteCount: Int) {
            self.queueSize = queueSize
            self.slotCount = slotCount
            self.bufferByteCount = bufferByteCount
        }

        var descriptorsPerSlot: Int { segmentCount + 2 }
        /// Most slots whose chains fit the ring.
        public var slotLimit: Int {
            usesIndirect ? queueSize : queueSize / descriptorsPerSlot
        }

        var driverOffset: Int { 16 * queueSize }
        var deviceOffset: Int { (driverOffset + 8 + 2 * queueSize + 63) & ~63 }
        var tableOffset: Int { (deviceOffset + 8 + 8 * queueSize + 63) & ~63 }
        /// Header and status of a slot share a cache line.
        var controlOffset: Int {
            (tableOffset + (usesIndirect ? slotCount * descriptorsPerSlot * 16 : 0) + 63) & ~63
        }
        var dataOffset: Int { (controlOffset + slotCount * 64 + 4095) & ~4095 }
        /// Memory that the queue takes.
        public var byteCount: Int {
            (dataOffset + slotCount * bufferByteCount + 4095) & ~4095
        }
    }

    public struct Completion: Sendable {
        public var slot: Int
        public var status: UInt8
        /// What the device says it has written, the status included.
        public var written: UInt32
    }

    public let layout: Layout
    private let bytes: SharedBytes
    /// Address of `bytes` in the guest's space.
    private let guestBase: UInt64
    private var operations: [UInt32]
    private var nextAvailable: UInt16 = 0
    private var publishedAvailable: UInt16 = 0
    private var nextUsed: UInt16 = 0
    private var availableWrap = true
    private var usedWrap = true
    private var packedSincePublish = 0
    /// Packed: ring entries that a slot's chain takes.
    private var packedCounts: [Int]

    /// - Parameter bytes: zeroed memory of at least `layout.byteCount`, aligned to a page.
    public init(_ layout: Layout, in bytes: SharedBytes, guestBase: UInt64) {
        precondition(layout.slotCount <= layout.slotLimit, "slots do not fit the ring")
        precondition(bytes.byteCount >= layout.byteCount)
        self.layout = layout
        self.bytes = bytes
        self.guestBase = guestBase
        operations = Array(repeating: .max, count: layout.slotCount)
        packedCounts = Array(repeating: 0, count: layout.slotCount)
    }

    // --- where things are, for the transport ---

    public var descriptorAddress: UInt64 { guestBase }
    public var driverAddress: UInt64 { guestBase + UInt64(layout.driverOffset) }
    public var deviceAddress: UInt64 { guestBase + UInt64(layout.deviceOffset) }

    /// The data of a slot.
    public func data(of slot: Int) -> HostSegment {
        bytes.part(
            at: layout.dataOffset + slot * layout.bufferByteCount,
            byteCount: layout.bufferByteCount
        ).segment
    }

    // --- requests ---

    /// Puts a request on the ring. The device sees it after `publish`. The slot is free.
    /// - Parameter byteCount: of data, at most a buffer; 0 for none.
    public mutating func submit(slot: Int, type: UInt32, sector: UInt64, byteCount: Int) {
        let control = layout.controlOffset &+ slot &* 64
        bytes.store(
            virtio_blk_request_header(type: type, reserved: 0, sector: sector), at: control)
        bytes.store(UInt8(0xFF), at: control &+ 16)
        if layout.isPacked {
            submitPacked(slot, type: type, byteCount: byteCount)
        } else {
            submitSplit(slot, type: type, byteCount: byteCount)
        }
    }

    /// Makes everything submitted visible.
    /// - Returns: whether the device wants a kick.
    public mutating func publish() -> Bool {
        layout.isPacked ? publishPacked() : publishSplit()
    }

    /// The next request that the device has answered; nil when there is none.
    public mutating func reap() -> Completion? {
        guard let (slot, written) = layout.isPacked ? reapPacked() : reapSplit() else { return nil }
        let status = bytes.load(UInt8.self, at: layout.controlOffset &+ slot &* 64 &+ 16)
        return Completion(slot: slot, status: status, written: written)
    }

    /// Asks for no interrupts: the driver polls.
    public mutating func disableInterrupts() {
        if layout.isPacked {
            bytes.storeRelease16(UInt16(VIRTIO_EVENT_DISABLE), at: layout.driverOffset &+ 2)
        } else {
            bytes.storeRelease16(UInt16(VIRTIO_AVAIL_NO_INTERRUPT), at: layout.driverOffset)
        }
    }

    /// Asks for an interrupt at the next answer.
    /// - Returns: false when one is there already.
    public mutating func enableInterrupts() -> Bool {
        if layout.isPacked {
            bytes.storeRelease16(UInt16(VIRTIO_EVENT_ENABLE), at: layout.driverOffset &+ 2)
        } else {
            bytes.storeRelease16(0, at: layout.driverOffset)
            if layout.usesEventIndex {
                let place = layout.driverOffset &+ 4 &+ 2 &* layout.queueSize
                bytes.storeRelease16(nextUsed, at: place)
            }
        }
        // Pairs with the device's fence between its used index and its look at our wish.
        fullFence()
        return !hasAnswers
    }

    private var hasAnswers: Bool {
        if layout.isPacked { return isUsed(Int(nextUsed)) }
        return bytes.loadAcquire16(at: layout.deviceOffset &+ 2) != nextUsed
    }

    // --- chains ---

    /// Descriptor `part` of a slot's chain: header, data pieces, status.
    private func descriptor(
        _ slot: Int, _ part: Int, type: UInt32, byteCount: Int
    ) -> (address: UInt64, length: UInt32, isWritable: Bool) {
        let control = guestBase &+ UInt64(layout.controlOffset &+ slot &* 64)
        let pieces = byteCount == 0 ? 0 : layout.segmentCount
        if part == 0 { return (control, 16, false) }
        if part > pieces { return (control &+ 16, 1, true) }
        let size = byteCount / layout.segmentCount
        let offset =
            layout.dataOffset &+ slot &* layout.bufferByteCount &+ (part &- 1) &* size
        let isInput = type == UInt32(VIRTIO_BLK_IN) || type == UInt32(VIRTIO_BLK_GET_ID)
        return (guestBase &+ UInt64(offset), UInt32(size), isInput)
    }

    private func partCount(_ byteCount: Int) -> Int {
        byteCount == 0 ? 2 : layout.descriptorsPerSlot
    }

    /// Writes a chain of split descriptors at `place` (descriptor units from `base`).
    private func writeSplitChain(
        _ slot: Int, type: UInt32, byteCount: Int, base: Int, first: Int
    ) {
        let count = partCount(byteCount)
        for part in 0..<count {
            let (address, length, isWritable) = descriptor(
                slot, part, type: type, byteCount: byteCount)
            var flags = isWritable ? VIRTIO_DESC_WRITE : 0
            if part < count &- 1 { flags |= VIRTIO_DESC_NEXT }
            bytes.store(
                virtio_split_descriptor(
                    address: address, length: length, flags: UInt16(flags),
                    next: UInt16(first &+ part &+ 1)),
                at: base &+ 16 &* (first &+ part))
        }
    }

    // --- split ---

    private mutating func submitSplit(_ slot: Int, type: UInt32, byteCount: Int) {
        let first = layout.usesIndirect ? slot : slot &* layout.descriptorsPerSlot
        // A slot that repeats its operation finds its chain as it was.
        let operation = type << 24 | UInt32(truncatingIfNeeded: byteCount)
        if operations[slot] != operation {
            operations[slot] = operation
            if layout.usesIndirect {
                writeIndirect(slot, type: type, byteCount: byteCount)
            } else {
                writeSplitChain(slot, type: type, byteCount: byteCount, base: 0, first: first)
            }
        }
        let entry = Int(nextAvailable) & (layout.queueSize &- 1)
        bytes.store(UInt16(first), at: layout.driverOffset &+ 4 &+ 2 &* entry)
        nextAvailable &+= 1
    }

    private func writeIndirect(_ slot: Int, type: UInt32, byteCount: Int) {
        let table = layout.tableOffset &+ slot &* layout.descriptorsPerSlot &* 16
        writeSplitChain(slot, type: type, byteCount: byteCount, base: table, first: 0)
        bytes.store(
            virtio_split_descriptor(
                address: guestBase &+ UInt64(table), length: UInt32(16 &* partCount(byteCount)),
                flags: UInt16(VIRTIO_DESC_INDIRECT), next: 0),
            at: 16 &* slot)
    }

    private mutating func publishSplit() -> Bool {
        let old = publishedAvailable
        if old == nextAvailable { return false }
        publishedAvailable = nextAvailable
        // Pairs with the device's read of the index before the entries.
        bytes.storeRelease16(nextAvailable, at: layout.driverOffset &+ 2)
        // Pairs with the device's fence between asking for kicks and its last look.
        fullFence()
        if layout.usesEventIndex {
            let event = bytes.loadRelaxed16(at: layout.deviceOffset &+ 4 &+ 8 &* layout.queueSize)
            return nextAvailable &- event &- 1 < nextAvailable &- old
        }
        return Int(bytes.loadRelaxed16(at: layout.deviceOffset)) & VIRTIO_USED_NO_NOTIFY == 0
    }

    private mutating func reapSplit() -> (Int, UInt32)? {
        if bytes.loadAcquire16(at: layout.deviceOffset &+ 2) == nextUsed { return nil }
        let entry = Int(nextUsed) & (layout.queueSize &- 1)
        let used = bytes.load(
            virtio_used_element.self, at: layout.deviceOffset &+ 4 &+ 8 &* entry)
        nextUsed &+= 1
        let slot = layout.usesIndirect ? Int(used.id) : Int(used.id) / layout.descriptorsPerSlot
        return (slot, used.length)
    }

    // --- packed ---

    private mutating func submitPacked(_ slot: Int, type: UInt32, byteCount: Int) {
        let count = layout.usesIndirect ? 1 : partCount(byteCount)
        if layout.usesIndirect { writePackedTable(slot, type: type, byteCount: byteCount) }
        let head = Int(nextAvailable)
        var headFlags: UInt16 = 0
        for part in 0..<count {
            let index = Int(nextAvailable)
            var flags = availableWrap ? VIRTIO_PACKED_AVAIL : VIRTIO_PACKED_USED
            if part < count &- 1 { flags |= VIRTIO_DESC_NEXT }
            var (address, length, isWritable) = descriptor(
                slot, part, type: type, byteCount: byteCount)
            if layout.usesIndirect {
                address =
                    guestBase
                    &+ UInt64(layout.tableOffset &+ slot &* layout.descriptorsPerSlot &* 16)
                length = UInt32(16 &* partCount(byteCount))
                isWritable = false
                flags |= VIRTIO_DESC_INDIRECT
            }
            if isWritable { flags |= VIRTIO_DESC_WRITE }
            bytes.store(address, at: 16 &* index)
            bytes.store(length, at: 16 &* index &+ 8)
            bytes.store(UInt16(slot), at: 16 &* index &+ 12)
            if part == 0 {
                headFlags = UInt16(flags)
            } else {
                bytes.storeRelease16(UInt16(flags), at: 16 &* index &+ 14)
            }
            nextAvailable &+= 1
            if Int(nextAvailable) == layout.queueSize {
                nextAvailable = 0
                availableWrap.toggle()
            }
        }
        // The head's flags go last: they make the chain available (§2.8.21).
        bytes.storeRelease16(headFlags, at: 16 &* head &+ 14)
        packedSincePublish &+= count
        packedCounts[slot] = count
    }

    private func writePackedTable(_ slot: Int, type: UInt32, byteCount: Int) {
        let table = layout.tableOffset &+ slot &* layout.descriptorsPerSlot &* 16
        for part in 0..<partCount(byteCount) {
            let (address, length, isWritable) = descriptor(
                slot, part, type: type, byteCount: byteCount)
            bytes.store(
                virtio_packed_descriptor(
                    address: address, length: length, id: 0,
                    flags: UInt16(isWritable ? VIRTIO_DESC_WRITE : 0)),
                at: table &+ 16 &* part)
        }
    }

    private mutating func publishPacked() -> Bool {
        if packedSincePublish == 0 { return false }
        let advanced = packedSincePublish
        packedSincePublish = 0
        // Pairs with the device's fence between asking for kicks and its last look.
        fullFence()
        let flags = Int(bytes.loadAcquire16(at: layout.deviceOffset &+ 2))
        if flags == VIRTIO_EVENT_DISABLE { return false }
        guard flags == VIRTIO_EVENT_DESC, layout.usesEventIndex else { return true }
        let event = bytes.loadRelaxed16(at: layout.deviceOffset)
        var distance = Int(nextAvailable) &- Int(event & 0x7FFF)
        if (event & 0x8000 != 0) != availableWrap { distance &+= layout.queueSize }
        return distance > 0 && distance <= advanced
    }

    private func isUsed(_ index: Int) -> Bool {
        let flags = Int(bytes.loadAcquire16(at: 16 &* index &+ 14))
        let available = flags & VIRTIO_PACKED_AVAIL != 0
        let used = flags & VIRTIO_PACKED_USED != 0
        return available == used && used == usedWrap
    }

    private mutating func reapPacked() -> (Int, UInt32)? {
        let index = Int(nextUsed)
        guard isUsed(index) else { return nil }
        let length = bytes.load(UInt32.self, at: 16 &* index &+ 8)
        let slot = Int(bytes.load(UInt16.self, at: 16 &* index &+ 12))
        let count = packedCounts[slot]
        nextUsed &+= UInt16(count)
        if Int(nextUsed) >= layout.queueSize {
            nextUsed &-= UInt16(layout.queueSize)
            usedWrap.toggle()
        }
        return (slot, length)
    }
}
