internal import Bdev
internal import CWire
internal import Memory

/// What the driver asked for, after every check that does not need the ring (Virtio 1.2 §5.2.6).
enum ParsedRequest {
    case transfer(BlockOperation, block: UInt64, blockCount: UInt64, segments: SegmentList)
    case identify(SegmentList)
    /// Answered at once with this status.
    case settled(UInt8)
}

/// Where the parts of a chain lie: header, data and the status byte, whatever the descriptor
/// boundaries are (Virtio 1.2 §2.7.4).
struct RequestParts {
    let header: RequestHeader
    /// Readable bytes after the header.
    let output: SegmentList
    let outputByteCount: Int
    /// Writable bytes before the status.
    let input: SegmentList
    let inputByteCount: Int
    let status: HostSegment
}

/// Checks requests against the device's shape. Pure: no ring, no storage, no clock.
struct BlockRequestParser: BitwiseCopyable {
    let shape: BlockShape
    private let sectorCount: UInt64
    private let byteMask: Int
    private let sectorMask: UInt64
    private let sectorShift: UInt64

    init(shape: BlockShape) {
        self.shape = shape
        sectorCount = shape.sectorCount
        byteMask = shape.blockByteCount - 1
        sectorMask = shape.sectorsPerBlock - 1
        sectorShift = shape.sectorShift
    }

    private static let ok = UInt8(VIRTIO_BLK_STATUS_OK)
    private static let ioError = UInt8(VIRTIO_BLK_STATUS_IOERR)
    private static let unsupported = UInt8(VIRTIO_BLK_STATUS_UNSUPP)

    func parse(_ parts: RequestParts) -> ParsedRequest {
        switch parts.header.type {
        case VIRTIO_BLK_IN:
            return transfer(
                .read, sector: parts.header.sector, parts.input, byteCount: parts.inputByteCount)
        case VIRTIO_BLK_OUT:
            if shape.isReadOnly { return .settled(Self.ioError) }
            return transfer(
                .write, sector: parts.header.sector, parts.output,
                byteCount: parts.outputByteCount)
        case VIRTIO_BLK_FLUSH where !shape.hasCache: return .settled(Self.ok)
        case VIRTIO_BLK_FLUSH:
            // The sector of a flush is reserved (§5.2.6.1); there is nothing to check.
            return .transfer(.flush, block: 0, blockCount: 0, segments: parts.input)
        case VIRTIO_BLK_GET_ID: return .identify(parts.input)
        case VIRTIO_BLK_DISCARD where shape.offersDiscard: return range(.unmap, parts)
        case VIRTIO_BLK_WRITE_ZEROES where shape.offersWriteZeroes:
            return range(.writeZeroes, parts)
        default: return .settled(Self.unsupported)
        }
    }

    private func transfer(
        _ operation: BlockOperation, sector: UInt64, _ data: SegmentList, byteCount: Int
    ) -> ParsedRequest {
        guard let (block, blockCount) = place(sector: sector, byteCount: byteCount) else {
            return .settled(Self.ioError)
        }
        return .transfer(operation, block: block, blockCount: blockCount, segments: data)
    }

    /// Where `byteCount` bytes from `sector` on lie, in blocks; nil unless they are whole blocks
    /// inside the disk, at least one.
    @inline(__always)
    func place(sector: UInt64, byteCount: Int) -> (block: UInt64, blockCount: UInt64)? {
        let sectors = UInt64(byteCount) &>> 9
        guard byteCount > 0, byteCount & byteMask == 0, sector & sectorMask == 0,
            sector <= sectorCount, sectors <= sectorCount &- sector
        else { return nil }
        return (sector &>> sectorShift, sectors &>> sectorShift)
    }

    private func isInside(sector: UInt64, sectorCount: UInt64) -> Bool {
        sector <= shape.sectorCount && sectorCount <= shape.sectorCount &- sector
    }

    /// Discard and write zeroes: exactly one range, as `max_discard_seg` says.
    private func range(_ operation: BlockOperation, _ parts: RequestParts) -> ParsedRequest {
        if shape.isReadOnly { return .settled(Self.ioError) }
        let data = parts.output
        guard parts.outputByteCount == MemoryLayout<virtio_blk_range>.size else {
            return .settled(Self.ioError)
        }
        let range = data.load(virtio_blk_range.self)
        // Discard has no flags; write zeroes may carry "unmap" (§5.2.6.1).
        let known: UInt32 = operation == .writeZeroes ? 1 : 0
        guard range.flags & ~known == 0 else { return .settled(Self.unsupported) }
        let limit = BlockShape.rangeSectorLimit
        guard range.sector_count <= limit, range.sector & (shape.sectorsPerBlock &- 1) == 0,
            UInt64(range.sector_count) & (shape.sectorsPerBlock &- 1) == 0,
            isInside(sector: range.sector, sectorCount: UInt64(range.sector_count))
        else { return .settled(Self.ioError) }
        if range.sector_count == 0 { return .settled(Self.ok) }
        return .transfer(
            operation, block: range.sector >> shape.sectorShift,
            blockCount: UInt64(range.sector_count) >> shape.sectorShift,
            segments: data.dropping(0, keeping: 0))
    }
}

extension RequestParts {
    private static let headerByteCount = MemoryLayout<virtio_blk_request_header>.size

    /// Splits the segments of a chain. Nil when there is no room for header or status.
    @inline(__always)
    static func split(_ chain: Chain, in run: SegmentRun) -> RequestParts? {
        guard chain.readableCount > 0, chain.writableCount > 0 else { return nil }
        let first = run.arena[run.start]
        let last = run.arena[run.start &+ chain.segmentCount &- 1]
        guard first.byteCount == headerByteCount, last.byteCount == 1 else {
            return splitAnywhere(chain, in: run)
        }
        return RequestParts(
            header: RequestHeader(first.loadPair()),
            output: run.arena.list(at: run.start &+ 1, count: chain.readableCount &- 1),
            outputByteCount: chain.readableBytes &- headerByteCount,
            input: run.arena.list(
                at: run.start &+ chain.readableCount, count: chain.writableCount &- 1),
            inputByteCount: chain.writableBytes &- 1, status: last)
    }

    /// Header and status that do not have descriptors of their own.
    private static func splitAnywhere(_ chain: Chain, in run: SegmentRun) -> RequestParts? {
        let arena = run.arena
        guard chain.readableBytes >= headerByteCount else { return nil }
        let bytes = arena.list(at: run.start, count: chain.readableCount)
            .load(virtio_blk_request_header.self)
        let header = RequestHeader((UInt64(bytes.type), bytes.sector))
        // Cut the header off the front.
        var dropped = 0
        var left = headerByteCount
        while left > 0, left >= arena[run.start &+ dropped].byteCount {
            left &-= arena[run.start &+ dropped].byteCount
            dropped &+= 1
        }
        if left > 0 {
            let segment = arena[run.start &+ dropped]
            arena[run.start &+ dropped] = segment.part(
                at: left, byteCount: segment.byteCount &- left)
        }
        // Cut the status off the end.
        let lastIndex = run.start &+ chain.segmentCount &- 1
        let last = arena[lastIndex]
        guard last.byteCount > 0 else { return nil }
        arena[lastIndex] = last.part(at: 0, byteCount: last.byteCount &- 1)
        let kept = last.byteCount == 1 ? chain.writableCount &- 1 : chain.writableCount
        return RequestParts(
            header: header,
            output: arena.list(at: run.start &+ dropped, count: chain.readableCount &- dropped),
            outputByteCount: chain.readableBytes &- headerByteCount,
            input: arena.list(at: run.start &+ chain.readableCount, count: kept),
            inputByteCount: chain.writableBytes &- 1,
            status: last.part(at: last.byteCount &- 1, byteCount: 1))
    }
}
