internal import CWire
internal import Memory

/// What a block device promises its driver: the numbers behind configuration space and features
/// (Virtio 1.2 §5.2.4).
public struct BlockShape: BitwiseCopyable, Equatable, Sendable {
    /// Capacity in 512-byte sectors; 0 while nothing is attached.
    public var sectorCount: UInt64
    /// Logical block size in bytes, a power of two from 512 on.
    public var blockByteCount: Int
    public var segmentByteLimit: UInt32
    public var segmentLimit: UInt32
    public var queueCount: UInt16
    public var isReadOnly: Bool
    public var offersDiscard: Bool
    public var offersWriteZeroes: Bool
    /// Whether the device has something to flush; without a cache a flush succeeds at once.
    public var hasCache = true

    /// Most sectors of one discard or write-zeroes range: 2 GiB.
    static let rangeSectorLimit: UInt32 = 1 << 22

    public init(
        sectorCount: UInt64, blockByteCount: Int, segmentByteLimit: UInt32, segmentLimit: UInt32,
        queueCount: UInt16, isReadOnly: Bool, offersDiscard: Bool, offersWriteZeroes: Bool
    ) {
        precondition(blockByteCount >= 512 && blockByteCount & (blockByteCount - 1) == 0)
        self.sectorCount = sectorCount
        self.blockByteCount = blockByteCount
        self.segmentByteLimit = segmentByteLimit
        self.segmentLimit = segmentLimit
        self.queueCount = queueCount
        self.isReadOnly = isReadOnly
        self.offersDiscard = offersDiscard
        self.offersWriteZeroes = offersWriteZeroes
    }

    var sectorShift: UInt64 { UInt64(blockByteCount.trailingZeroBitCount) &- 9 }
    var sectorsPerBlock: UInt64 { 1 &<< sectorShift }

    /// The device configuration space, 60 bytes.
    public func configurationSpace() -> [UInt8] {
        var space = virtio_blk_configuration()
        space.capacity = sectorCount
        space.size_max = segmentByteLimit
        space.seg_max = segmentLimit
        space.blk_size = UInt32(blockByteCount)
        space.num_queues = queueCount
        if offersDiscard {
            space.max_discard_sectors = Self.rangeSectorLimit
            space.max_discard_seg = 1
            space.discard_sector_alignment = UInt32(sectorsPerBlock)
        }
        if offersWriteZeroes {
            space.max_write_zeroes_sectors = Self.rangeSectorLimit
            space.max_write_zeroes_seg = 1
            space.write_zeroes_may_unmap = 1
        }
        return Array(ByteLayout.bytes(of: space).prefix(VIRTIO_BLK_CONFIGURATION_BYTES))
    }
}
