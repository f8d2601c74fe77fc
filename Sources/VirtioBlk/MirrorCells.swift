internal import CWire
internal import Memory

/// Where the areas of the host's ring lie.
struct RemoteAreas: BitwiseCopyable {
    static let ringOffset = 4  // flags and index come before the entries

    let descriptors: RemoteAddress
    let driver: RemoteAddress
    let device: RemoteAddress
    private let size: Int

    init(_ setup: VirtqueueSetup, _ memory: RemoteMemory) throws(QueueFault) {
        guard setup.descriptorArea % 16 == 0, setup.driverArea % (setup.isPacked ? 4 : 2) == 0,
            setup.deviceArea % 4 == 0
        else { throw .misaligned }
        let areas = Virtqueue.areaByteCounts(setup)
        guard
            let descriptors = memory.place(
                atUserAddress: setup.descriptorArea, byteCount: areas.descriptor),
            let driver = memory.place(
                atUserAddress: setup.driverArea, byteCount: areas.driver),
            let device = memory.place(
                atUserAddress: setup.deviceArea, byteCount: areas.device)
        else { throw .notMapped }
        self.descriptors = descriptors
        self.driver = driver
        self.device = device
        size = setup.size
    }

    func descriptor(_ index: Int) -> RemoteAddress { descriptors.advanced(by: 16 &* index) }
    func availableEntry(_ index: Int) -> RemoteAddress {
        driver.advanced(by: Self.ringOffset &+ 2 &* index)
    }
    func usedEntry(_ index: Int) -> RemoteAddress {
        device.advanced(by: Self.ringOffset &+ 8 &* index)
    }
    var usedIndex: RemoteAddress { device.advanced(by: 2) }
    /// Where the device says at which available index it wants a kick (Virtio 1.2 §2.7.10).
    var availableEvent: RemoteAddress { device.advanced(by: Self.ringOffset &+ 8 &* size) }
}

/// The part of the staging area that one mirrored queue has: copies of the host's ring, cells whose
/// bytes are written to it, and the device model's ring.
struct MirrorCells {
    let part: StagingArea.Part
    let ringSize: Int
    /// Of the model's ring: four descriptors for each slot.
    let modelSize: Int
    private let offsets: Offsets

    private struct Offsets {
        let entries, index, used, usedIndex, log, logStart, logEnd, marks, constants, event: Int
        let message, slots, modelTable, modelDriver, modelDevice, end: Int

        init(ringSize: Int, slotCount: Int, logByteCount: Int) {
            var next = 16 * ringSize
            func take(_ byteCount: Int) -> Int {
                defer { next = (next + byteCount + 63) & ~63 }
                return next
            }
            next = (next + 63) & ~63
            entries = take(2 * ringSize)
            index = take(4)
            used = take(8 * ringSize)
            usedIndex = take(2)
            log = take(logByteCount)
            logStart = take(4)
            logEnd = take(4)
            marks = take(MirrorCells.markByteCount * slotCount)
            constants = take(8)
            event = take(4)
            message = take(16)
            slots = take(32 * slotCount)
            modelTable = take(64 * slotCount)
            modelDriver = take(4 + 8 * slotCount)
            modelDevice = take(4 + 32 * slotCount)
            end = next
        }
    }

    private static let markByteCount = 32
    private let logByteCount: Int

    /// Nil when the staging area has no room.
    init?(
        in staging: StagingArea, ringSize: Int, isPacked: Bool, slotCount: Int, message: [UInt8]
    ) {
        precondition(message.count <= 16)
        logByteCount =
            isPacked
            ? PackedInflightLog.byteCount(queueSize: ringSize)
            : InflightLog.byteCount(queueSize: ringSize)
        offsets = Offsets(ringSize: ringSize, slotCount: slotCount, logByteCount: logByteCount)
        guard let part = staging.takePart(byteCount: offsets.end) else { return nil }
        self.part = part
        self.ringSize = ringSize
        modelSize = 4 * slotCount
        messageByteCount = message.count
        part.bytes.part(at: offsets.message, byteCount: 16).segment.store(bytes: message)
    }

    private let messageByteCount: Int

    private func cell(_ offset: Int, _ byteCount: Int) -> HostSegment {
        part.bytes.part(at: offset, byteCount: byteCount).segment
    }

    // --- copies of the host's ring ---

    func descriptor(_ index: Int) -> HostSegment { cell(16 &* index, 16) }
    /// Packed: the flags of a descriptor.
    func flags(_ index: Int) -> UInt16 {
        table.load(UInt16.self, at: 16 &* index &+ PackedRing.flagsOffset)
    }
    var table: SharedBytes { part.bytes.part(at: 0, byteCount: 16 &* ringSize) }
    var index: HostSegment { cell(offsets.index, 4) }
    var availableIndex: UInt16 { index.load(UInt16.self, at: 2) }

    func entries(_ start: Int, _ count: Int) -> HostSegment {
        cell(offsets.entries &+ 2 &* start, 2 &* count)
    }
    func head(at index: Int) -> UInt16 { entries(index, 1).load(UInt16.self) }

    // --- what is written to it ---

    func used(_ start: Int, _ count: Int) -> HostSegment {
        cell(offsets.used &+ 8 &* start, 8 &* count)
    }
    func setUsed(_ index: Int, head: UInt16, written: UInt32) {
        used(index, 1).store(virtio_used_element(id: UInt32(head), length: written))
    }
    var usedIndex: HostSegment { cell(offsets.usedIndex, 2) }
    /// Packed: length, id and flags, as the descriptor `index` has them from its byte 8 on.
    func setUsed(_ index: Int, id: UInt16, written: UInt32, flags: UInt16) {
        let cell = used(index, 1)
        cell.store(written)
        cell.store(id, at: 4)
        cell.store(flags, at: 6)
    }
    var log: SharedBytes { part.bytes.part(at: offsets.log, byteCount: logByteCount) }
    /// Head of the last batch and used index, as they are written before and after an answer.
    var logStart: HostSegment { cell(offsets.logStart, 4) }
    var logEnd: HostSegment { cell(offsets.logEnd, 4) }
    /// What a slot writes to the log.
    func mark(_ slot: Int) -> HostSegment {
        cell(offsets.marks &+ Self.markByteCount &* slot, Self.markByteCount)
    }
    /// Always 0.
    var zero: HostSegment { cell(offsets.constants, 2) }
    var event: HostSegment { cell(offsets.event, 4) }
    var message: HostSegment { cell(offsets.message, messageByteCount) }

    // --- slots ---

    func header(_ slot: Int) -> HostSegment { cell(offsets.slots &+ 32 &* slot, 16) }
    func status(_ slot: Int) -> HostSegment { cell(offsets.slots &+ 32 &* slot &+ 16, 1) }
    func headerAddress(_ slot: Int) -> UInt64 { address(offsets.slots &+ 32 &* slot) }
    func statusAddress(_ slot: Int) -> UInt64 { address(offsets.slots &+ 32 &* slot &+ 16) }

    // --- the model's ring ---

    private func address(_ offset: Int) -> UInt64 { part.address &+ UInt64(offset) }

    var modelSetup: VirtqueueSetup {
        VirtqueueSetup(
            size: modelSize, isPacked: false, usesEventIndex: false, allowsIndirect: true,
            descriptorArea: address(offsets.modelTable),
            driverArea: address(offsets.modelDriver), deviceArea: address(offsets.modelDevice),
            position: VirtqueuePosition(vringBase: 0, isPacked: false))
    }

    private var driver: SharedBytes {
        part.bytes.part(at: offsets.modelDriver, byteCount: 4 &+ 2 &* modelSize)
    }
    private var device: SharedBytes {
        part.bytes.part(at: offsets.modelDevice, byteCount: 4 &+ 8 &* modelSize)
    }

    /// The model need not interrupt.
    func quietModel() { driver.store(UInt16(VIRTIO_AVAIL_NO_INTERRUPT), at: 0) }

    func setDescriptor(
        _ index: Int, address: UInt64, length: Int, flags: Int, next: Int
    ) {
        MirrorCells.store(
            address: address, length: length, flags: flags, next: next,
            to: part.bytes.part(at: offsets.modelTable, byteCount: 16 &* modelSize),
            at: 16 &* index)
    }

    static func store(
        address: UInt64, length: Int, flags: Int, next: Int, to bytes: SharedBytes,
        at offset: Int
    ) {
        bytes.store(
            virtio_split_descriptor(
                address: address, length: UInt32(length), flags: UInt16(flags),
                next: UInt16(next)), at: offset)
    }

    /// Makes the chain that begins with descriptor `head` the model's entry `index`.
    func offer(_ head: Int, at index: UInt16) {
        driver.store(UInt16(head), at: 4 &+ 2 &* (Int(index) & (modelSize &- 1)))
        driver.storeRelease16(index &+ 1, at: 2)
    }

    var modelUsedIndex: UInt16 { device.loadAcquire16(at: 2) }

    /// What the model says of its entry `index`: descriptor, and bytes written.
    func modelUsed(_ index: UInt16) -> (head: Int, written: UInt32) {
        let element = device.load(
            virtio_used_element.self, at: 4 &+ 8 &* (Int(index) & (modelSize &- 1)))
        return (Int(element.id), element.length)
    }
}

/// What a transfer was for.
struct MirrorTag {
    enum Kind: UInt32 {
        case opening, index, entries, table, payload, journal, answer, other
    }

    let rawValue: UInt32
    init(rawValue: UInt32) { self.rawValue = rawValue }
    init(_ kind: Kind, _ slot: UInt32 = 0) { rawValue = kind.rawValue &<< 24 | slot }

    var kind: Kind { Kind(rawValue: rawValue &>> 24) ?? .other }
    var slot: Int { Int(rawValue & 0xFF_FFFF) }
}
