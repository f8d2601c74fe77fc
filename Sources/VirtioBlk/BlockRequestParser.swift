internal import Bdev
internal import CWire
internal import Memory

/// What the driver asked for, after every check that does not need the ring (Virtio 1.2 §5.2.6).
enum ParsedRequest {
    case transfer(BlockOperation, block: UInt64, blockCount: UInt64, segments: SegmentList)
    case identify(SegmentList)
    /// Answered at once with this status.
    case refused(UInt8)
}

/// Where the parts of a chain lie: header, data and the status byte, whatever the descriptor
/// boundaries are (Virtio 1.2 §2.7.4).
struct RequestParts {
    let header: virtio_blk_request_header
    /// Readable bytes after the header.
    let output: SegmentList
    /// Writable bytes before the status.
    let input: SegmentList
    let status: HostSegment
}

/// Checks requests against the device's shape. Pure: no ring, no storage, no clock.
struct BlockRequestParser: BitwiseCopyable {
    let shape: BlockShape

    private static let ok = UInt8(VIRTIO_BLK_STATUS_OK)
    private static let ioError = UInt8(VIRTIO_BLK_STATUS_IOERR)
    private static let unsupported = UInt8(VIRTIO_BLK_STATUS_UNSUPP)

    func parse(_ parts: RequestParts) -> ParsedRequest {
        switch Int(parts.header.type) {
        case VIRTIO_BLK_IN:
            return transfer(.read, sector: parts.header.sector, parts.input)
        case VIRTIO_BLK_OUT:
            if shape.isReadOnly { return .refused(Self.ioError) }
            return transfer(.write, sector: parts.header.sector, parts.output)
        case VIRTIO_BLK_FLUSH:
            // The sector of a flush is reserved (§5.2.6.1); there is nothing to check.
            return .transfer(.flush, block: 0, blockCount: 0, segments: parts.input)
        case VIRTIO_BLK_GET_ID: return .identify(parts.input)
        case VIRTIO_BLK_DISCARD where shape.offersDiscard: return range(.unmap, parts.output)
        case VIRTIO_BLK_WRITE_ZEROES where shape.offersWriteZeroes:
            return range(.writeZeroes, parts.output)
        default: return .refused(Self.unsupported)
        }
    }

    private func transfer(
        _ operation: BlockOperation, sector: UInt64, _ data: SegmentList
    ) -> ParsedRequest {
        let byteCount = data.byteCount
        let sectors = UInt64(byteCount) >> 9
        guard byteCount & (shape.blockByteCount &- 1) == 0, byteCount > 0,
            sector & (shape.sectorsPerBlock &- 1) == 0,
            isInside(sector: sector, sectorCount: sectors)
        else { return .refused(Self.ioError) }
        return .transfer(
            operation, block: sector >> shape.sectorShift, blockCount: sectors >> shape.sectorShift,
            segments: data)
    }

    private func isInside(sector: UInt64, sectorCount: UInt64) -> Bool {
        sector <= shape.sectorCount && sectorCount <= shape.sectorCount &- sector
    }

    /// Discard and write zeroes: exactly one range, as `max_discard_seg` says.
    private func range(_ operation: BlockOperation, _ data: SegmentList) -> ParsedRequest {
        if shape.isReadOnly { return .refused(Self.ioError) }
        guard data.byteCount == MemoryLayout<virtio_blk_range>.size else {
            return .refused(Self.ioError)
        }
        let range = data.load(virtio_blk_range.self)
        // Discard has no flags; write zeroes may carry "unmap" (§5.2.6.1).
        let known: UInt32 = operation == .writeZeroes ? 1 : 0
        guard range.flags & ~known == 0 else { return .refused(Self.unsupported) }
        let limit = BlockShape.rangeSectorLimit
        guard range.sector_count <= limit, range.sector & (shape.sectorsPerBlock &- 1) == 0,
            UInt64(range.sector_count) & (shape.sectorsPerBlock &- 1) == 0,
            isInside(sector: range.sector, sectorCount: UInt64(range.sector_count))
        else { return .refused(Self.ioError) }
        if range.sector_count == 0 { return .refused(Self.ok) }
        return .transfer(
            operation, block: range.sector >> shape.sectorShift,
            blockCount: UInt64(range.sector_count) >> shape.sectorShift,
            segments: data.dropping(0, keeping: 0))
    }
}

extension RequestParts {
    private static let headerByteCount = MemoryLayout<virtio_blk_request_header>.size

    /// Splits the segments of a chain. Nil when there is no room for header or status.
    static func split(
        _ chain: Chain, in arena: borrowing SegmentArena, at start: Int
    ) -> RequestParts? {
        let readable = Int(chain.readableCount)
        let writable = Int(chain.writableCount)
        guard readable > 0, writable > 0 else { return nil }
        let first = arena[start]
        let last = arena[start &+ readable &+ writable &- 1]
        if first.byteCount == headerByteCount, last.byteCount == 1 {
            return RequestParts(
                header: first.load(virtio_blk_request_header.self),
                output: arena.list(at: start &+ 1, count: readable &- 1),
                input: arena.list(at: start &+ readable, count: writable &- 1), status: last)
        }
        return splitAnywhere(chain, in: arena, at: start)
    }

    /// Header and status that do not have descriptors of their own.
    private static func splitAnywhere(
        _ chain: Chain, in arena: borrowing SegmentArena, at start: Int
    ) -> RequestParts? {
        let readable = Int(chain.readableCount)
        let writable = Int(chain.writableCount)
        let output = arena.list(at: start, count: readable)
        guard output.byteCount >= headerByteCount else { return nil }
        let header = output.load(virtio_blk_request_header.self)
        // Cut the header off the front.
        var dropped = 0
        var left = headerByteCount
        while left > 0, left >= arena[start &+ dropped].byteCount {
            left &-= arena[start &+ dropped].byteCount
            dropped &+= 1
        }
        if left > 0 {
            let segment = arena[start &+ dropped]
            arena[start &+ dropped] = segment.part(at: left, byteCount: segment.byteCount &- left)
        }
        // Cut the status off the end.
        let lastIndex = start &+ readable &+ writable &- 1
        let last = arena[lastIndex]
        guard last.byteCount > 0 else { return nil }
        arena[lastIndex] = last.part(at: 0, byteCount: last.byteCount &- 1)
        let kept = last.byteCount == 1 ? writable &- 1 : writable
        return RequestParts(
            header: header,
            output: arena.list(at: start &+ dropped, count: readable &- dropped),
            input: arena.list(at: start &+ readable, count: kept),
            status: last.part(at: last.byteCount &- 1, byteCount: 1))
    }
}
