import Bdev
import Memory
import Platform
import Testing

@Suite struct `Block channel` {
    let geometry = BlockGeometry(blockByteCount: 512, blockCount: 100)

    @Test func `refuses what lies beyond the end and keeps the rest`() throws {
        let bench = try Bench(NullBackend(geometry))
        let taken = bench.submit([
            bench.transfer(.read, tag: 0, block: 99),
            bench.transfer(.read, tag: 1, block: 100),
            bench.transfer(.read, tag: 2, block: 98, count: 3),
            bench.command(.read, tag: 3, block: .max, count: 2),
            bench.transfer(.read, tag: 4, block: 0),
        ])
        #expect(taken == 5)
        #expect(bench.channel.outstanding == 5)
        let ended = Dictionary(uniqueKeysWithValues: bench.poll().map { ($0.tag, $0.status) })
        #expect(ended == [0: .success, 1: .invalid, 2: .invalid, 3: .invalid, 4: .success])
        #expect(bench.channel.outstanding == 0)
        #expect(bench.channel.wakeTime == nil)
    }

    @Test func `refuses operations that the backend lacks`() throws {
        let bench = try Bench(NullBackend(geometry))
        #expect(bench.run(bench.command(.unmap, count: 1)) == .unsupported)
        #expect(bench.run(bench.command(.flush)) == .unsupported)
        #expect(bench.run(bench.command(.writeZeroes, count: 1)) == .success)
    }

    @Test func `takes no more than its depth`() throws {
        let bench = try Bench(NullBackend(geometry), depth: 2)
        let requests = (0..<2).map { bench.transfer(.read, tag: UInt32($0), block: 0) }
        #expect(bench.submit(requests) == 2)
        #expect(bench.submit(requests) == 0)
        #expect(bench.poll().count == 2)
        #expect(bench.submit(requests) == 2)
        #expect(bench.poll().count == 2)
    }

    @Test func `sees a resize at the next request`() async throws {
        let backend = NullBackend(geometry)
        let bench = try Bench(backend)
        backend.resize(toBlockCount: 10)
        bench.device.refreshGeometry()
        #expect(bench.run(bench.transfer(.read, block: 10)) == .invalid)
        #expect(bench.run(bench.transfer(.read, block: 9)) == .success)
    }

    @Test func `counts bytes requests errors and latencies`() throws {
        let bench = try Bench(NullBackend(geometry))
        for wait in [30, 10, 20] as [UInt64] {
            _ = bench.submit([bench.transfer(.read, block: 0, count: 2)])
            bench.now = bench.now.advanced(by: wait)
            _ = bench.poll()
        }
        _ = bench.run(bench.transfer(.read, block: 100))
        let statistics = bench.device.statistics(reset: .all)
        #expect(statistics.read.byteCount == 3 * 1024)
        #expect(statistics.read.requestCount == 3)
        #expect(statistics.read.latencyTicks == 60)
        #expect(statistics.read.maximumLatencyTicks == 30)
        #expect(statistics.read.minimumLatencyTicks == 10)
        #expect(statistics.failedCount == 1)
        #expect(statistics.write == IOStatistics.Operation())

        #expect(bench.device.statistics() == IOStatistics())
        _ = bench.submit([bench.transfer(.read, block: 0)])
        bench.now = bench.now.advanced(by: 15)
        _ = bench.poll()
        #expect(bench.device.statistics().read.maximumLatencyTicks == 15)
        #expect(bench.device.statistics().read.minimumLatencyTicks == 15)
    }

    @Test func `adds up samples of the queue depth`() throws {
        let bench = try Bench(NullBackend(geometry))
        bench.device.sampleQueueDepth()
        #expect(bench.device.queueDepthFigures == nil)
        bench.device.setQueueDepthPeriod(microseconds: 10)
        for depth in 0..<3 {
            _ = bench.submit((0..<depth).map { bench.transfer(.read, tag: UInt32($0), block: 0) })
            bench.device.sampleQueueDepth()
            _ = bench.poll()
        }
        let figures = try #require(bench.device.queueDepthFigures)
        #expect(figures.queueDepth == 2)
        #expect(figures.busyMicroseconds == 20)
        #expect(figures.weightedMicroseconds == 30)
    }

    @Test func `keeps the figures of a channel that has closed`() throws {
        let device = BlockDevice(name: "n", backend: NullBackend(geometry))
        do {
            let bench = try Bench(device)
            _ = bench.run(bench.transfer(.write, block: 0))
        }
        #expect(device.statistics().write.requestCount == 1)
        #expect(device.channelStatistics().isEmpty)
    }
}

@Suite struct `Malloc disk` {
    @Test func `reads what was written through scattered memory`() throws {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 64)
        let disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        let bench = try Bench(MallocBackend(disk, geometry))
        bench.memory.bytes.segment.store(bytes: (0..<1024).map { UInt8($0 % 251) })
        let scattered = bench.list([0..<1, 1..<700, 700..<1024])
        let write = BlockRequest(.write, tag: 0, block: 62, blockCount: 2, segments: scattered)
        #expect(bench.run(write) == .success)
        let target = bench.list([4096..<4600, 5000..<5520])
        let read = BlockRequest(.read, tag: 0, block: 62, blockCount: 2, segments: target)
        #expect(bench.run(read) == .success)
        let bytes = bench.memory.bytes.segment.bytes()
        #expect(Array(bytes[4096..<4600] + bytes[5000..<5520]) == Array(bytes[0..<1024]))
    }

    @Test func `zeroes a large range in bounded steps`() throws {
        let geometry = BlockGeometry(blockByteCount: 4096, blockCount: 1024)
        let disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        disk.bytes.segment.fill(with: 7)
        let bench = try Bench(MallocBackend(disk, geometry))
        _ = bench.submit([bench.command(.unmap, block: 1, count: 1022)])
        var polls = 1
        while bench.poll().isEmpty { polls += 1 }
        #expect(polls == 4)
        let bytes = disk.bytes.segment.bytes()
        #expect(bytes[4095] == 7 && bytes[1023 * 4096] == 7)
        #expect(bytes[4096..<1023 * 4096].allSatisfy { $0 == 0 })
    }
}
