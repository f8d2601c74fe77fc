internal import Bounded
internal import Memory

/// One chain under way in a mirrored queue.
struct MirrorSlot: BitwiseCopyable {
    enum Step: UInt8 {
        /// Its indirect table is being read, or has been.
        case table, walking
        /// Its pieces are known; it waits for chunks.
        case known
        /// Its header and data are being read.
        case reading
        /// The device model has it.
        case offered
    }

    var step = Step.known
    /// What its used entry says: head (split) or buffer id (packed).
    var id: UInt16 = 0
    /// Packed: descriptors of the ring that it takes, and its entry in the log.
    var descriptorCount: UInt16 = 0
    var logEntry: UInt16 = 0
    /// Counts the chains of the queue, in the ring's order.
    var sequence: UInt64 = 0
    /// Whether the in-flight log of the host's side names it.
    var isMarked = false
    var isAnswering = false
    var longRun = PieceRoom.none
    var chain = RemoteChain(start: 0, limit: 0)
    /// The chunk of its indirect table; later that of the model's table.
    var tableChunk = PieceRoom.none
    var tableCount = 0
    var outputChunks = 0
    var inputChunks = 0
    var pendingReads = 0
    /// Writes to the log that name it.
    var pendingRecords = 0
    /// As the device model has answered it.
    var written: UInt32 = 0
}

/// A run of host memory that a descriptor names.
struct RemotePiece: BitwiseCopyable {
    var place: RemoteAddress
    var byteCount: Int
}

/// One chain of the host's ring, as a list of pieces. Readable ones come first.
struct RemoteChain: BitwiseCopyable {
    let start: Int
    let limit: Int
    /// Packed: its buffer id.
    var id: UInt16 = 0
    var flaw = Chain.Flaw.none
    /// Whether its last descriptor is writable and reachable: where a status can go.
    var endsWritable = false
    var readableCount = 0
    var writableCount = 0
    var readableBytes = 0
    var writableBytes = 0

    init(start: Int, limit: Int) {
        self.start = start
        self.limit = limit
    }

    var count: Int { readableCount &+ writableCount }
    /// Where its last piece stands.
    var last: Int { start &+ max(0, min(count, limit) &- 1) }
    static let headerByteCount = 16

    /// Whether it can be a request: room for a header and a status.
    var isRequest: Bool {
        flaw == .none && readableBytes >= Self.headerByteCount && writableBytes > 0 && endsWritable
    }
}

/// Room for the pieces of the chains under way: a short run for each slot, a few long ones.
struct PieceRoom: ~Copyable {
    static let none = UInt32.max
    private static let shortLength = 8
    private static let longRuns = 16

    private var table: FixedTable<RemotePiece>
    private var freeLong: SlotPool
    private let slotCount: Int
    let longLength: Int

    init(slotCount: Int, segmentLimit: Int) {
        self.slotCount = slotCount
        longLength = max(64, min(segmentLimit, Virtqueue.indirectLimit) + 2)
        table = FixedTable(
            count: slotCount * Self.shortLength + Self.longRuns * longLength,
            repeating: RemotePiece(place: RemoteAddress(0, key: 0), byteCount: 0))
        freeLong = SlotPool(capacity: Self.longRuns)
    }

    subscript(index: Int) -> RemotePiece {
        get { table[index] }
        set { table[index] = newValue }
    }

    func shortRun(of slot: UInt32) -> RemoteChain {
        RemoteChain(start: Int(slot) &* Self.shortLength, limit: Self.shortLength)
    }
    func longRun(_ number: UInt32) -> RemoteChain {
        RemoteChain(
            start: slotCount &* Self.shortLength &+ Int(number) &* longLength, limit: longLength)
    }
    mutating func takeLong() -> UInt32? { freeLong.take() }
    mutating func giveBackLong(_ number: UInt32) { freeLong.giveBack(number) }
}
