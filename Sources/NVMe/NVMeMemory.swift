internal import CWire
public import Memory
public import Platform

/// Why function memory cannot be adopted.
public enum NVMeMemoryError: Error, Equatable, Sendable {
    case tooSmall(byteCount: Int, needed: Int)
    case notOurs
    case otherVersion(UInt16)
    case otherShape(queueCount: UInt16)
    case damaged(String)

    public var text: String {
        switch self {
        case .tooSmall(let byteCount, let needed):
            "the function memory has \(byteCount) bytes; \(needed) are needed"
        case .notOurs: "the function memory holds something else"
        case .otherVersion(let version):
            "the function memory has layout version \(version), and this service speaks "
                + "\(MemoryVersions.spoken.lowerBound) to \(MemoryVersions.spoken.upperBound); "
                + "let a service that speaks it convert it: start that with "
                + "--function-memory-version \(MemoryVersions.spoken.upperBound) and reset the "
                + "controller in its host"
        case .otherShape(let count):
            "the function memory was laid out for \(count) queues"
        case .damaged(let what): "the function memory is damaged: \(what)"
        }
    }
}

/// What the hardware keeps of an NVMe function while services come and go: the controller's
/// record, the queues that the driver created, and the commands in flight (design §4).
///
/// Every update can be cut short by the death of its process at any store: what is found afterwards
/// is the state before or after it. The service that holds the lease is the only writer. It keeps
/// the layout that it finds until the controller's reset (design §5).
public final class NVMeMemory: Sendable {
    /// Commands in flight on one completion queue.
    public static let inFlightLimit = Int(NVME_MEMORY_IN_FLIGHT_LIMIT)
    public static let controllerRecordLimit = Int(NVME_MEMORY_CONTROLLER_BYTES)
    static let stageByteCount = Int(NVME_MEMORY_STAGE_BYTES)

    let bytes: SharedBytes
    private let owner: Mapping
    /// The admin queue, 0, and the I/O queues.
    public let queueCount: Int
    /// Of the layout that the next reset leaves.
    let wantedVersion: Int
    /// For memory that is on another machine; nil where it is mapped.
    public let changes: MemoryChanges?

    enum Layout {
        static let header = MemoryLayout<nvme_memory_header>.size
        static let controller = 4096
        static let controllerCopy = 4160
        static let queues = controller + 2 * controllerCopy
        static let cell = MemoryLayout<nvme_queue_cell>.size
        static let journalHeader = MemoryLayout<nvme_journal_header>.size
        static let slot = MemoryLayout<nvme_in_flight_slot>.size
        static let stage = roundedUp(journalHeader + inFlightLimit * slot)
        static let journal = stage + stageByteCount

        static func journals(queueCount: Int) -> Int { roundedUp(queues + queueCount * cell) }
        static func roundedUp(_ count: Int) -> Int { (count + 4095) & ~4095 }
    }

    /// Bytes for a function with so many queues, the admin queue included.
    public static func byteCount(queueCount: Int) -> Int {
        Layout.journals(queueCount: queueCount) + queueCount * Layout.journal
    }

    /// The whole of a memory file.
    public convenience init(
        adopting mapping: Mapping, queueCount: Int, wanting version: Int = MemoryVersions.newest,
        isFar: Bool = false
    ) throws(NVMeMemoryError) {
        try self.init(
            adopting: mapping.bytes, of: mapping, queueCount: queueCount, wanting: version,
            isFar: isFar)
    }

    /// Makes zero-filled memory ready, or adopts and checks what a predecessor left.
    /// - Parameters:
    ///   - bytes: part of `owner`, which is kept.
    ///   - queueCount: the admin queue included, 1 ... 65535.
    ///   - version: layout of memory that is made ready, or that a reset clears.
    ///   - isFar: `bytes` are a copy of another machine's, in which nothing has been read yet.
    public init(
        adopting bytes: SharedBytes, of owner: Mapping, queueCount: Int,
        wanting version: Int = MemoryVersions.newest, isFar: Bool = false
    ) throws(NVMeMemoryError) {
        precondition(MemoryVersions.spoken.contains(version), "the layout is not spoken")
        precondition(queueCount > 0 && queueCount <= 65535)
        let needed = NVMeMemory.byteCount(queueCount: queueCount)
        guard bytes.byteCount >= needed else {
            throw .tooSmall(byteCount: bytes.byteCount, needed: needed)
        }
        guard bytes.address % 64 == 0 else { throw .damaged("it is not aligned") }
        self.bytes = bytes
        self.owner = owner
        self.queueCount = queueCount
        wantedVersion = version
        changes = isFar ? MemoryChanges() : nil
        try adopt()
    }

    // --- header ---

    /// Of the layout that is there.
    public var version: Int { Int(bytes.load(nvme_memory_header.self, at: 0).version) }

    /// Whether outcomes of admin commands are on record with their effects.
    var recordsOutcomes: Bool { version > NVME_MEMORY_OLDEST_VERSION }

    func adopt() throws(NVMeMemoryError) {
        let header = bytes.load(nvme_memory_header.self, at: 0)
        if header.magic == 0 { return layOut() }
        guard header.magic == NVME_MEMORY_MAGIC else { throw .notOurs }
        guard MemoryVersions.spoken.contains(Int(header.version)) else {
            throw .otherVersion(header.version)
        }
        guard header.checksum == NVMeMemory.checksum(header) else { throw .damaged("its header") }
        guard header.queue_count == queueCount else {
            throw .otherShape(queueCount: header.queue_count)
        }
        guard header.checksum == expectedHeader(header.version).checksum else {
            throw .damaged("its layout")
        }
        try checkRecords()
    }

    /// Writes the header of memory that is empty, or holds nothing but a cleared function.
    func layOut() {
        var fresh = expectedHeader(UInt16(wantedVersion))
        fresh.magic = 0
        // Pairs with a successor's reading of the header: without the magic the rest says nothing.
        bytes.storeRelease32(0, at: 0)
        note(0, 4)
        fullFence()
        bytes.store(fresh, at: 0)
        note(0, MemoryLayout<nvme_memory_header>.size)
        // Pairs with a successor's reading of the header: the rest is there when the magic is.
        bytes.storeRelease32(UInt32(NVME_MEMORY_MAGIC), at: 0)
        note(0, 4)
    }

    private func expectedHeader(_ version: UInt16) -> nvme_memory_header {
        var header = nvme_memory_header()
        header.magic = UInt32(NVME_MEMORY_MAGIC)
        header.version = version
        header.queue_count = UInt16(queueCount)
        header.byte_count = UInt64(NVMeMemory.byteCount(queueCount: queueCount))
        header.controller_offset = UInt32(Layout.controller)
        header.queue_offset = UInt32(Layout.queues)
        header.journal_offset = UInt32(Layout.journals(queueCount: queueCount))
        header.journal_stride = UInt32(Layout.journal)
        header.in_flight_limit = UInt16(NVMeMemory.inFlightLimit)
        header.checksum = NVMeMemory.checksum(header)
        return header
    }

    private static func checksum(_ header: nvme_memory_header) -> UInt64 {
        var header = header
        header.checksum = 0
        return Checksum.fnv1a(ByteLayout.bytes(of: header))
    }
}
