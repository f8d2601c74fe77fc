import Bdev
import Bounded
import Memory
import Platform

/// One user of one block device on one simulated reactor, under a manual clock.
final class Bench {
    let device: BlockDevice
    let channel: BlockChannel
    let memory: Mapping
    var now = Ticks(1_000_000)
    private let arena: SegmentArena
    private var batch: RequestBatch
    private var completions: CompletionBatch

    init(
        _ device: BlockDevice, depth: Int = 64, site: ChannelSite = .unwatched,
        memoryByteCount: Int = 1 << 20
    ) throws {
        self.device = device
        channel = try device.openChannel(depth: depth, at: site)
        memory = try Mapping.fresh(byteCount: memoryByteCount)
        arena = SegmentArena(capacity: 1024)
        batch = RequestBatch(capacity: depth)
        completions = CompletionBatch(capacity: depth)
    }

    convenience init(_ backend: any Backend, depth: Int = 64) throws {
        try self.init(BlockDevice(name: "bdev", backend: backend), depth: depth)
    }

    /// A list of memory parts, kept at `slot` of the arena.
    func list(_ parts: [Range<Int>], at slot: Int = 0) -> SegmentList {
        for (index, part) in parts.enumerated() {
            arena[slot + index] = memory.bytes.segment.part(
                at: part.lowerBound, byteCount: part.count)
        }
        return arena.list(at: slot, count: parts.count)
    }

    func transfer(
        _ operation: BlockOperation, tag: UInt32 = 0, block: UInt64, count: UInt64 = 1,
        at offset: Int = 0
    ) -> BlockRequest {
        let size = Int(count) * device.geometry.blockByteCount
        return BlockRequest(
            operation, tag: tag, block: block, blockCount: count,
            segments: list([offset..<offset + size], at: Int(tag)))
    }

    func command(
        _ operation: BlockOperation, tag: UInt32 = 0, block: UInt64 = 0, count: UInt64 = 0
    ) -> BlockRequest {
        BlockRequest(operation, tag: tag, block: block, blockCount: count, segments: .empty)
    }

    /// Offers `requests` in one batch.
    func submit(_ requests: [BlockRequest]) -> Int {
        batch.removeAll()
        for request in requests { batch.append(request) }
        return channel.submit(batch, from: 0, now: now)
    }

    func poll() -> [BlockCompletion] {
        completions.removeAll()
        channel.poll(into: &completions, now: now)
        return (0..<completions.count).map { completions[$0] }
    }

    /// Submits one request and polls until it has ended.
    func run(_ request: BlockRequest) -> BlockStatus {
        precondition(submit([request]) == 1)
        while true {
            if let completion = poll().first { return completion.status }
            if let time = channel.wakeTime, time > now { now = time }
        }
    }
}

extension ChannelSite {
    static var unwatched: ChannelSite { ChannelSite(watch: { _ in }, unwatch: { _ in }) }
}

extension Mapping {
    static func fresh(byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }
}
