internal import CWire
public import Memory
internal import Platform

/// The driver's side of a submission queue and its completion queue (NVMe Base 2.0 §3.3.3): a fixed
/// number of slots, each with a data buffer. A command's identifier is its slot.
///
/// It trusts the device to answer what it was given, and says when the device does not. Neither
/// submitting nor polling allocates, except that a register write of a trapped doorbell may.
public struct NVMeDriverQueue: ~Copyable {
    public struct Layout: Sendable {
        /// Entries of both rings, 2 to 65,536.
        public var entryCount: Int
        /// Commands under way at most: fewer than entries.
        public var slotCount: Int
        /// Bytes of a slot's data buffer, at most 2 MiB.
        public var bufferByteCount: Int

        public init(entryCount: Int, slotCount: Int, bufferByteCount: Int) {
            self.entryCount = entryCount
            self.slotCount = slotCount
            self.bufferByteCount = bufferByteCount
        }

        private static let page = DMAMemory.pageByteCount
        var completionOffset: Int { DMAMemory.wholePages(64 * entryCount) }
        var listOffset: Int { completionOffset + DMAMemory.wholePages(16 * entryCount) }
        /// A page of PRP entries for each slot whose buffer needs one (§4.1.1).
        var usesLists: Bool { bufferByteCount > 2 * Self.page }
        var bufferStride: Int { DMAMemory.wholePages(bufferByteCount) }
        var dataOffset: Int { listOffset + (usesLists ? slotCount * Self.page : 0) }
        /// Memory that the queue takes.
        public var byteCount: Int { dataOffset + slotCount * bufferStride }
    }

    public struct Completion: BitwiseCopyable, Sendable {
        public var slot: Int
        public var status: NVMeAnswerStatus
        /// False: the device has answered what it did not hold.
        public var isKnown: Bool
    }

    /// What of a namespace a command is about.
    public struct Extent: BitwiseCopyable, Sendable {
        public var namespace: UInt32
        public var block: UInt64
        /// 1 to 65,536.
        public var blockCount: Int
        /// The same in bytes.
        public var byteCount: Int

        public init(namespace: UInt32, block: UInt64, blockCount: Int, byteCount: Int) {
            self.namespace = namespace
            self.block = block
            self.blockCount = blockCount
            self.byteCount = byteCount
        }
    }

    public let id: UInt16
    public let layout: Layout
    let part: DMAMemory.Part
    private let bytes: SharedBytes
    private let interrupt: SharedDescriptor?
    private let tailDoorbell: DriverDoorbell
    private let headDoorbell: DriverDoorbell
    private var tail = 0
    private var publishedTail = 0
    private var head = 0
    private var publishedHead = 0
    private var phase: UInt64 = 1
    /// Consumed and not yet told to the device, and how many of those it bears.
    private var untold = 0
    private let untoldLimit: Int
    private var isUnderWay: [Bool]
    /// Commands that the device holds.
    public private(set) var outstanding = 0
    /// A doorbell could not be written: nothing is answered any more.
    public private(set) var hasLostDevice = false

    init(
        _ id: UInt16, _ layout: Layout, in part: DMAMemory.Part, interrupt: SharedDescriptor?,
        tail: DriverDoorbell, head: DriverDoorbell
    ) {
        precondition(layout.slotCount > 0 && layout.slotCount < layout.entryCount)
        precondition(layout.bufferByteCount <= 1 << 21, "buffers of at most 2 MiB")
        self.id = id
        self.layout = layout
        self.part = part
        self.interrupt = interrupt
        bytes = part.bytes
        tailDoorbell = tail
        headDoorbell = head
        // The device keeps a place for each command under way.
        untoldLimit = max(1, min(layout.entryCount / 2, layout.entryCount - 1 - layout.slotCount))
        isUnderWay = Array(repeating: false, count: layout.slotCount)
        if layout.usesLists { writeLists() }
    }

    /// Every slot's list of its buffer's pages from the second one on.
    private func writeLists() {
        for slot in 0..<layout.slotCount {
            let list = layout.listOffset + slot * DMAMemory.pageByteCount
            let start = dataAddress(of: slot)
            for page in 1..<layout.bufferStride / DMAMemory.pageByteCount {
                bytes.store(
                    start + UInt64(page * DMAMemory.pageByteCount), at: list + 8 * (page - 1))
            }
        }
    }

    public var submissionAddress: UInt64 { part.address }
    public var completionAddress: UInt64 { part.address + UInt64(layout.completionOffset) }

    /// The data of a slot.
    public func data(of slot: Int) -> HostSegment {
        bytes.part(
            at: layout.dataOffset + slot * layout.bufferStride, byteCount: layout.bufferByteCount
        ).segment
    }

    /// The completion ring, for tests that look whether something still writes to it.
    public var completionRing: HostSegment {
        bytes.part(at: layout.completionOffset, byteCount: 16 * layout.entryCount).segment
    }

    @inline(__always)
    private func dataAddress(of slot: Int) -> UInt64 {
        part.address &+ UInt64(layout.dataOffset &+ slot &* layout.bufferStride)
    }

    public func isUnderWay(_ slot: Int) -> Bool { isUnderWay[slot] }

    // --- commands: the device sees them after `publish` ---

    public mutating func read(_ slot: Int, _ extent: Extent) {
        transfer(UInt8(NVME_NVM_READ), slot, extent)
    }

    /// - Parameter isDurable: answered once on the medium (FUA).
    public mutating func write(_ slot: Int, _ extent: Extent, isDurable: Bool = false) {
        transfer(UInt8(NVME_NVM_WRITE), slot, extent, flags: isDurable ? 1 << 30 : 0)
    }

    public mutating func compare(_ slot: Int, _ extent: Extent) {
        transfer(UInt8(NVME_NVM_COMPARE), slot, extent)
    }

    /// - Parameter isDeallocating: the blocks may lose their storage.
    public mutating func writeZeroes(_ slot: Int, _ extent: Extent, isDeallocating: Bool = false) {
        submit(
            UInt8(NVME_NVM_WRITE_ZEROES), slot, extent.namespace, block: extent.block,
            control: UInt32(extent.blockCount &- 1) | (isDeallocating ? 1 << 25 : 0))
    }

    public mutating func flush(_ slot: Int, namespace: UInt32) {
        submit(UInt8(NVME_NVM_FLUSH), slot, namespace, block: 0, control: 0)
    }

    /// Dataset Management: the extents, at most 256 and of one namespace, are not needed any more.
    public mutating func deallocate(_ slot: Int, _ extents: [Extent]) {
        precondition(!extents.isEmpty && extents.count <= 256)
        let data = data(of: slot)
        for index in extents.indices {
            data.store(
                nvme_dsm_range(
                    attributes: 0, block_count: UInt32(extents[index].blockCount),
                    block: extents[index].block), at: 16 * index)
        }
        let deallocate = UInt64(NVME_DSM_DEALLOCATE) << 32
        submit(
            UInt8(NVME_NVM_DATASET_MANAGEMENT), slot, extents[0].namespace,
            block: UInt64(extents.count - 1) | deallocate, control: 0,
            data: (dataAddress(of: slot), 0))
    }

    @inline(__always)
    private mutating func transfer(
        _ opcode: UInt8, _ slot: Int, _ extent: Extent, flags: UInt32 = 0
    ) {
        precondition(extent.byteCount <= layout.bufferByteCount)
        let first = dataAddress(of: slot)
        var second: UInt64 = 0
        if extent.byteCount > DMAMemory.pageByteCount {
            second =
                extent.byteCount > 2 * DMAMemory.pageByteCount
                ? part.address
                    &+ UInt64(layout.listOffset &+ slot &* DMAMemory.pageByteCount)
                : first &+ UInt64(DMAMemory.pageByteCount)
        }
        submit(
            opcode, slot, extent.namespace, block: extent.block,
            control: UInt32(extent.blockCount &- 1) | flags, data: (first, second))
    }

    /// - Parameters:
    ///   - block: dwords 10 and 11.
    ///   - control: dword 12.
    @inline(__always)
    private mutating func submit(
        _ opcode: UInt8, _ slot: Int, _ namespace: UInt32, block: UInt64, control: UInt32,
        data: (UInt64, UInt64) = (0, 0)
    ) {
        precondition(!isUnderWay[slot], "the slot is under way")
        isUnderWay[slot] = true
        outstanding &+= 1
        bytes.store(
            CacheLine(
                UInt64(opcode) | UInt64(slot) << 16 | UInt64(namespace) << 32, 0, 0, data.0,
                data.1, block, UInt64(control), 0),
            at: 64 &* tail)
        tail &+= 1
        if tail == layout.entryCount { tail = 0 }
    }

    /// Makes everything submitted visible.
    public mutating func publish() {
        if tail == publishedTail { return }
        if !tailDoorbell.ring(UInt16(tail), from: UInt16(publishedTail)) { hasLostDevice = true }
        publishedTail = tail
    }

    // --- answers ---

    /// The next answer; nil when there is none.
    public mutating func poll() -> Completion? {
        // Pairs with the device's store of the phase tag after the rest (§3.3.3.2.1).
        let word = bytes.loadAcquire64(at: layout.completionOffset &+ 16 &* head &+ 8)
        if word >> 48 & 1 != phase { return nil }
        head &+= 1
        if head == layout.entryCount {
            head = 0
            phase ^= 1
        }
        untold &+= 1
        if untold >= untoldLimit { tell() }
        let slot = Int(word >> 32 & 0xFFFF)
        let isKnown =
            slot < layout.slotCount && isUnderWay[slot]
            && UInt16(truncatingIfNeeded: word >> 16) == id
        if isKnown {
            isUnderWay[slot] = false
            outstanding &-= 1
        }
        return Completion(
            slot: slot,
            status: NVMeAnswerStatus(rawValue: UInt16(truncatingIfNeeded: word >> 49)),
            isKnown: isKnown)
    }

    /// Tells the device how far we have come.
    private mutating func tell() {
        if !headDoorbell.ring(UInt16(head), from: UInt16(publishedHead)) { hasLostDevice = true }
        publishedHead = head
        untold = 0
    }

    /// Waits for an interrupt, if the queue has one. False when `milliseconds` pass first.
    ///
    /// Poll first: an answer that came before the last wait ended makes no interrupt.
    public func wait(milliseconds: Int32) -> Bool {
        guard let interrupt else { return true }
        guard UnixSocket.waitReadable(interrupt.number, milliseconds: milliseconds) else {
            return false
        }
        EventDescriptor.drain(interrupt.number)
        return true
    }
}
