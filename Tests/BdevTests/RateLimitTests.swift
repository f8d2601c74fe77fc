import Memory
import Platform
import Testing

@testable import Bdev

@Suite struct `Rate limits` {
    let geometry = BlockGeometry(blockByteCount: 4096, blockCount: 1 << 20)

    /// Keeps `channels` as busy as they allow for `seconds`, sleeping as `wakeTime` says.
    /// - Returns: requests done by each, and wake-ups.
    func saturate(
        _ benches: [Bench], seconds: Double, block: UInt64 = 1,
        _ operation: (Int) -> BlockOperation = { _ in .read }
    ) -> (done: [Int], wakeUps: Int) {
        var done = benches.map { _ in 0 }
        let start = benches[0].now
        let end = start.advanced(by: UInt64(seconds * Double(Ticks.perSecond)))
        var now = start
        var wakeUps = 0
        while now < end {
            wakeUps += 1
            var next = end
            for (index, bench) in benches.enumerated() {
                bench.now = now
                while true {
                    let requests = (0..<8).map { tag in
                        bench.transfer(
                            operation(done[index]), tag: UInt32(tag), block: 0, count: block)
                    }
                    let taken = bench.submit(requests)
                    done[index] += bench.poll().count
                    if taken == 0 { break }
                }
                if let time = bench.channel.wakeTime { next = min(next, time) }
            }
            now = max(next, now.advanced(by: 1))
        }
        return (done, wakeUps)
    }

    @Test(arguments: [1000, 30_000, 1_000_000] as [UInt64])
    func `keep requests to their rate without spinning`(rate: UInt64) throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        device.rateLimits.requestsPerSecond = rate
        let bench = try Bench(device)
        let (done, wakeUps) = saturate([bench], seconds: 0.5)
        #expect(abs(Double(done[0]) - Double(rate) / 2) <= Double(rate) * 0.01 + 8)
        #expect(wakeUps < 1200 + done[0] / 4)
    }

    @Test func `are shared by all channels, none of which starves`() throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        device.rateLimits.requestsPerSecond = 20_000
        let benches = try (0..<3).map { _ in try Bench(device) }
        let (done, _) = saturate(benches, seconds: 1)
        #expect(abs(done.reduce(0, +) - 20_000) < 300)
        for count in done { #expect((3_300...10_000).contains(count)) }
    }

    @Test func `count bytes by direction`() throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        device.rateLimits.readMebibytesPerSecond = 4
        device.rateLimits.writeMebibytesPerSecond = 8
        for (operation, rate) in [(BlockOperation.read, 4.0), (.write, 8.0)] {
            let bench = try Bench(device)
            bench.now = Ticks(Ticks.perSecond * 1000)
            let (done, _) = saturate([bench], seconds: 2, block: 16) { _ in operation }
            let mebibytes = Double(done[0]) / 16
            #expect(abs(mebibytes - rate * 2) < 0.3)
        }
    }

    @Test func `let a request through that is larger than a second's worth`() throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        device.rateLimits.mebibytesPerSecond = 1
        let bench = try Bench(device, memoryByteCount: 1 << 22)
        let large = BlockRequest(
            .write, tag: 0, block: 0, blockCount: 512, segments: bench.list([0..<1 << 21]))
        #expect(bench.submit([large]) == 1)
        #expect(bench.poll().count == 1)
        #expect(bench.submit([large]) == 0)
        let start = bench.now
        while bench.submit([large]) == 0 { bench.now = try #require(bench.channel.wakeTime) }
        #expect(bench.poll().count == 1)
        let waited = Double(bench.now.since(start)) / Double(Ticks.perSecond)
        #expect(abs(waited - 2) < 0.01)
    }

    @Test func `no longer hold what they held when they are lifted`() throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        device.rateLimits.mebibytesPerSecond = 1
        let bench = try Bench(device)
        let request = bench.transfer(.read, block: 0, count: 256)
        #expect(bench.submit([request]) == 1)
        _ = bench.poll()
        #expect(bench.submit([request]) == 0)
        device.rateLimits = RateLimits()
        #expect(bench.submit([request]) == 1)
        _ = bench.poll()
        #expect(bench.channel.wakeTime == nil)
    }

    @Test func `round requests up to thousands`() {
        let rounded = [0, 1, 1000, 1500].map { RateLimits.rounded(requestsPerSecond: $0) }
        #expect(rounded == [0, 1000, 1000, 2000])
    }
}

@Suite struct `Latency histogram` {
    @Test func `has SPDK's layout`() {
        #expect(LatencyHistogram.bucketCount == 7424)
        let expected: [(UInt64, Int)] = [
            (0, 0), (1, 1), (127, 127), (128, 128), (255, 255), (256, 256), (257, 256),
            (511, 383), (512, 384), (1 << 63, 7424 - 128), (.max, 7423),
        ]
        for (ticks, bucket) in expected {
            #expect(LatencyHistogram.bucket(of: ticks) == bucket, "\(ticks)")
        }
    }

    @Test func `counts what is switched on`() throws {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 8)
        let bench = try Bench(NullBackend(geometry))
        func run(_ operation: BlockOperation) {
            _ = bench.submit([bench.transfer(operation, block: 0)])
            bench.now = bench.now.advanced(by: 100)
            _ = bench.poll()
        }
        run(.read)
        #expect(bench.device.latencyHistogram == nil)
        bench.device.startHistogram(of: .read)
        run(.read)
        run(.write)
        let histogram = try #require(bench.device.latencyHistogram)
        #expect(histogram.buckets[100] == 1)
        #expect(histogram.buckets.reduce(0, +) == 1)
        bench.device.stopHistogram()
        run(.read)
        #expect(histogram.buckets[100] == 1)
    }
}
