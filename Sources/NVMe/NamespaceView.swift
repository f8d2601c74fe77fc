/// What the data path has to know of an attached namespace.
public struct NamespaceView: BitwiseCopyable, Equatable, Sendable {
    /// 1 ... the controller's number of namespaces.
    public var id: UInt32
    /// Block size as a power of two; the block device has blocks of the same size.
    public var blockShift: UInt8
    public var blockCount: UInt64
    public var isReadOnly: Bool
    /// Whether the block device has something to flush; without a cache a flush succeeds at once.
    public var hasCache: Bool
    /// Optional commands; one that is not offered is an invalid opcode.
    public var offersWriteZeroes: Bool
    public var offersCompare: Bool
    public var offersDeallocate: Bool
    public var offersVerify: Bool

    public init(
        id: UInt32, blockShift: UInt8, blockCount: UInt64, isReadOnly: Bool = false,
        hasCache: Bool = true, offersWriteZeroes: Bool = false, offersCompare: Bool = false,
        offersDeallocate: Bool = false, offersVerify: Bool = false
    ) {
        self.id = id
        self.blockShift = blockShift
        self.blockCount = blockCount
        self.isReadOnly = isReadOnly
        self.hasCache = hasCache
        self.offersWriteZeroes = offersWriteZeroes
        self.offersCompare = offersCompare
        self.offersDeallocate = offersDeallocate
        self.offersVerify = offersVerify
    }
}

/// The limits of a controller's queues.
public struct QueueShape: BitwiseCopyable, Equatable, Sendable {
    /// Most bytes of one data transfer: 4096 << MDTS.
    public var transferByteLimit: Int
    /// Namespace ids go from 1 to here (Identify Controller, NN).
    public var namespaceLimit: Int

    public init(transferByteLimit: Int, namespaceLimit: Int) {
        precondition(transferByteLimit >= 4096 && transferByteLimit <= 1 << 24)
        precondition(namespaceLimit > 0 && namespaceLimit <= 0xFFFF_FFFE)
        self.transferByteLimit = transferByteLimit
        self.namespaceLimit = namespaceLimit
    }

    /// A memory page: CAP.MPSMIN and MPSMAX are 0.
    static let pageByteCount = 4096
}
