internal import Bounded
internal import Memory

/// One command under way in mirrored rings.
struct MirrorSlot: BitwiseCopyable {
    enum Step: UInt8 {
        /// Nothing has been asked for its data.
        case taken
        /// Its data pointer has yet to be looked into.
        case pointed
        /// A PRP list or SGL segment is being read, or has been.
        case table, walking
        /// Its pieces are known; it waits for chunks.
        case known
        /// Its data is being read.
        case reading
        /// Its chunks are there, and its data when the host has given some.
        case ready
        /// The data pointer leads nowhere: `status` says why.
        case refused
    }

    var step = Step.taken
    /// Place of its submission queue, and the host's name for it.
    var submission: UInt16
    var command: UInt16
    /// Whether a predecessor took it.
    var isAgain = false
    var longRun = PieceRoom.none
    var run = PieceRun(start: 0, limit: 0)
    var walk = PointerWalk()
    /// Its data, and whether the host gets it.
    var byteCount = 0
    var goesToHost = false
    var chunkCount = 0
    /// The chunk of its PRP list or SGL segment; later that of the model's SGL.
    var tableChunk = PieceRoom.none
    var pendingReads = 0
    /// How it ended, and how much of its data the host gets.
    var status = NVMeStatus.success
    var result: UInt32 = 0
    var outputByteCount = 0

    init(submission: UInt16, command: UInt16) {
        self.submission = submission
        self.command = command
    }
}

/// A run of host memory that a data pointer names.
struct RemotePiece: BitwiseCopyable {
    var place: RemoteAddress
    var byteCount: Int
}

/// The pieces of one command.
struct PieceRun: BitwiseCopyable {
    let start: Int
    let limit: Int
    var count = 0

    init(start: Int, limit: Int) {
        self.start = start
        self.limit = limit
    }
}

/// Room for the pieces of the commands under way: a short run for each slot, a few long ones.
struct PieceRoom: ~Copyable {
    static let none = UInt32.max
    private static let shortLength = 8
    private static let longRuns = 16

    private var table: FixedTable<RemotePiece>
    private var freeLong: SlotPool
    private let slotCount: Int
    let longLength: Int

    init(slotCount: Int, transferByteLimit: Int) {
        self.slotCount = slotCount
        // As `SegmentRoom`.
        longLength = transferByteLimit / QueueShape.pageByteCount + 17
        table = FixedTable(
            count: slotCount * Self.shortLength + Self.longRuns * longLength,
            repeating: RemotePiece(place: RemoteAddress(0, key: 0), byteCount: 0))
        freeLong = SlotPool(capacity: Self.longRuns)
    }

    subscript(index: Int) -> RemotePiece {
        get { table[index] }
        set { table[index] = newValue }
    }

    func shortRun(of slot: UInt32) -> PieceRun {
        PieceRun(start: Int(slot) &* Self.shortLength, limit: Self.shortLength)
    }
    func longRun(_ number: UInt32) -> PieceRun {
        PieceRun(
            start: slotCount &* Self.shortLength &+ Int(number) &* longLength, limit: longLength)
    }
    mutating func takeLong() -> UInt32? { freeLong.take() }
    mutating func giveBackLong(_ number: UInt32) { freeLong.giveBack(number) }
}

/// What a transfer of mirrored rings was for.
struct MirrorTag {
    enum Kind: UInt32 {
        case opening, doorbell, entries, table, payload, answer, store, former, journal, other
    }

    let rawValue: UInt32
    init(rawValue: UInt32) { self.rawValue = rawValue }
    init(_ kind: Kind, _ slot: UInt32 = 0) { rawValue = kind.rawValue &<< 24 | slot }

    var kind: Kind { Kind(rawValue: rawValue &>> 24) ?? .other }
    var slot: Int { Int(rawValue & 0xFF_FFFF) }
}
