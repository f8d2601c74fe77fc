import Bdev
import Bounded
import MallocProbe
import Memory
import Platform
import Testing

/// Runs `rounds` full batches of 4 KiB reads and writes through a channel, each polled to its end.
/// - Returns: requests that ended well.
private func run(_ rounds: Int, on channel: BlockChannel, with segments: SegmentList) -> Int {
    var batch = RequestBatch(capacity: channel.depth)
    var completions = CompletionBatch(capacity: channel.depth)
    for tag in 0..<channel.depth {
        batch.append(
            BlockRequest(
                tag % 2 == 0 ? .read : .write, tag: UInt32(tag), block: UInt64(tag),
                blockCount: 1, segments: segments))
    }
    var ended = 0
    for _ in 0..<rounds {
        let now = Ticks.now()
        _ = channel.submit(batch, from: 0, now: now)
        while channel.outstanding > 0 {
            completions.removeAll()
            channel.poll(into: &completions, now: now)
            for index in 0..<completions.count where completions[index].status == .success {
                ended += 1
            }
        }
    }
    return ended
}

@Suite(.serialized) struct `Allocation` {
    static let geometry = BlockGeometry(blockByteCount: 4096, blockCount: 64)
    static let rounds = 31_250
    static let depth = 32

    @Test(.enabled(if: malloc_probe_is_active()))
    func `a million requests to a null disk allocate nothing`() throws {
        try measure(NullBackend(Self.geometry), "null")
    }

    @Test(.enabled(if: malloc_probe_is_active()))
    func `a million requests to a malloc disk allocate nothing`() throws {
        let disk = try Mapping.fresh(byteCount: Int(Self.geometry.byteCount))
        try measure(MallocBackend(disk, Self.geometry), "malloc, 4 KiB copied")
    }

    @Test(.enabled(if: malloc_probe_is_active()))
    func `a million requests under rate limits and a histogram allocate nothing`() throws {
        let device = BlockDevice(name: "bdev", backend: NullBackend(Self.geometry))
        device.rateLimits.requestsPerSecond = 4_000_000_000
        device.startHistogram()
        try measure(device, "null, paced and measured")
    }

    @Test(.enabled(if: malloc_probe_is_active()), arguments: KernelQueue.Kind.usable)
    func `requests to a file allocate nothing, aligned or not`(
        engine: KernelQueue.Kind
    ) throws {
        let file = try ScratchFile(byteCount: Int(Self.geometry.byteCount))
        let backend = try file.backend(engine, blockByteCount: 4096)
        let bench = try Bench(BlockDevice(name: "bdev", backend: backend), depth: Self.depth)
        for offset in [0, 1] {
            let segments = bench.list([offset..<offset + 4096])
            _ = run(2, on: bench.channel, with: segments)
            let allocations = malloc_probe_count()
            let start = Clock.monotonicNanoseconds()
            let ended = run(100, on: bench.channel, with: segments)
            let time = Clock.monotonicNanoseconds() - start
            // The two batches that `run` itself makes.
            #expect(malloc_probe_count() - allocations == 2)
            #expect(ended == 100 * Self.depth)
            print("\(engine), offset \(offset): \(time / UInt64(ended)) ns a request")
        }
    }

    private func measure(_ backend: any Backend, _ what: String) throws {
        try measure(BlockDevice(name: "bdev", backend: backend), what)
    }

    private func measure(_ device: BlockDevice, _ what: String) throws {
        let bench = try Bench(device, depth: Self.depth)
        let segments = bench.list([0..<4096])
        _ = run(2, on: bench.channel, with: segments)
        let allocations = malloc_probe_count()
        let start = Clock.threadNanoseconds()
        let ended = run(Self.rounds, on: bench.channel, with: segments)
        let time = Clock.threadNanoseconds() - start
        // The two batches that `run` itself makes.
        #expect(malloc_probe_count() - allocations == 2)
        #expect(ended == Self.rounds * Self.depth)
        print("\(what): \(Double(time / UInt64(ended / 100)) / 100) ns a request")
    }
}
