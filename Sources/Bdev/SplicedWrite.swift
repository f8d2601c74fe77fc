internal import Bounded
internal import Memory
internal import Platform

/// One write at a time with one byte exchanged: that byte comes from memory of ours, so the host's
/// own memory stays as it is.
struct SplicedWrite: ~Copyable {
    /// Segments that a spoilt write may have; a longer one goes through whole.
    private static let segmentLimit = 1024

    private let substitute: Mapping
    private let arena = SegmentArena(capacity: segmentLimit + 2)
    private var batch = RequestBatch(capacity: 1)
    private var tag: UInt32?

    init() throws(SystemError) {
        let file = try MemoryFile.create(name: "spliced", byteCount: 4096)
        substitute = try Mapping(file.number, byteCount: 4096)
    }

    var isBusy: Bool { tag != nil }

    /// Hands one unchanged request down. False: there was no room for it.
    mutating func submitAlone(_ request: BlockRequest, to base: BlockChannel, now: Ticks) -> Bool {
        batch.removeAll()
        batch.append(request)
        return base.submit(batch, from: 0, now: now) == 1
    }

    /// Hands a write down with the byte at `offset` XORed with `value`.
    mutating func submit(
        _ request: BlockRequest, spoiling offset: Int, with value: UInt8, to base: BlockChannel,
        now: Ticks
    ) -> Bool {
        precondition(tag == nil, "one spliced write at a time")
        var spoilt = request
        if let segments = splice(request.segments, offset, value) { spoilt.segments = segments }
        if !submitAlone(spoilt, to: base, now: now) { return false }
        tag = request.tag
        return true
    }

    mutating func ended(_ endedTag: UInt32) {
        if tag == endedTag { tag = nil }
    }

    private func splice(_ segments: SegmentList, _ offset: Int, _ value: UInt8) -> SegmentList? {
        if segments.count > SplicedWrite.segmentLimit { return nil }
        var count = 0
        var offset = offset
        for index in 0..<segments.count {
            let segment = segments[index]
            if offset >= 0 && offset < segment.byteCount {
                let byte = substitute.bytes.segment.part(at: 0, byteCount: 1)
                byte.store(segment.load(UInt8.self, at: offset) ^ value)
                arena[count] = segment.part(at: 0, byteCount: offset)
                arena[count + 1] = byte
                arena[count + 2] = segment.part(
                    at: offset + 1, byteCount: segment.byteCount - offset - 1)
                count += 3
            } else {
                arena[count] = segment
                count += 1
            }
            offset -= segment.byteCount
        }
        return arena.list(at: 0, count: count)
    }
}
