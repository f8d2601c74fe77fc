public import Bounded
public import Memory

/// What a block device can be asked to do.
public enum BlockOperation: UInt8, BitwiseCopyable, Sendable, CaseIterable {
    case read
    case write
    case flush
    case unmap
    case writeZeroes

    public var movesData: Bool { self == .read || self == .write }

    /// Whether a read-only device refuses it.
    public var changesData: Bool { self == .write || self == .unmap || self == .writeZeroes }
}

/// One request to a block device.
public struct BlockRequest: BitwiseCopyable, Sendable {
    public var operation: BlockOperation
    /// Names the request to its submitter; unique among the outstanding ones, below the channel's
    /// depth.
    public var tag: UInt32
    /// First block, in blocks of the device.
    public var block: UInt64
    public var blockCount: UInt64
    /// Read and write: exactly `blockCount` blocks of memory, valid until the completion is
    /// polled. Empty for the others.
    public var segments: SegmentList

    public init(
        _ operation: BlockOperation, tag: UInt32, block: UInt64, blockCount: UInt64,
        segments: SegmentList
    ) {
        self.operation = operation
        self.tag = tag
        self.block = block
        self.blockCount = blockCount
        self.segments = segments
    }
}

/// How a request ended.
public enum BlockStatus: UInt8, BitwiseCopyable, Sendable {
    case success
    /// The device failed it.
    case failed
    /// Beyond the end, or not a shape that the device takes.
    case invalid
    case unsupported
    case noSpace
    case readOnly
    /// Given up by `abandonHeld` before a device worked on it.
    case aborted
}

public struct BlockCompletion: BitwiseCopyable, Sendable {
    public let tag: UInt32
    public let status: BlockStatus

    public init(tag: UInt32, status: BlockStatus) {
        self.tag = tag
        self.status = status
    }
}

public typealias RequestBatch = BoundedArray<BlockRequest>
public typealias CompletionBatch = BoundedArray<BlockCompletion>
