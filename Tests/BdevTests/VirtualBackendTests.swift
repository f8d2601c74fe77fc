import Bdev
import Memory
import Platform
import Testing

@Suite struct `Delay disk` {
    let base = BlockDevice(
        name: "base",
        backend: NullBackend(BlockGeometry(blockByteCount: 512, blockCount: 100)))

    @Test func `ends requests when their time has come`() throws {
        let latencies = try DelayLatencies(
            averageRead: 100, slowRead: 100, averageWrite: 300, slowWrite: 300)
        let bench = try Bench(DelayBackend(base, latencies))
        let start = bench.now
        _ = bench.submit([
            bench.transfer(.write, tag: 0, block: 0), bench.transfer(.read, tag: 1, block: 0),
            bench.command(.writeZeroes, tag: 2, count: 1),
        ])
        #expect(bench.poll().map(\.tag) == [2])
        let read = start.advanced(by: Ticks.from(nanoseconds: 100_000))
        let write = start.advanced(by: Ticks.from(nanoseconds: 300_000))
        #expect(bench.channel.wakeTime == read)
        bench.now = Ticks(read.count - 1)
        #expect(bench.poll().isEmpty)
        bench.now = read
        #expect(bench.poll().map(\.tag) == [1])
        #expect(bench.channel.wakeTime == write)
        bench.now = write
        #expect(bench.poll().map(\.tag) == [0])
        #expect(bench.channel.wakeTime == nil)
    }

    @Test func `takes the slow latency once in a hundred times`() throws {
        let latencies = try DelayLatencies(
            averageRead: 0, slowRead: 10, averageWrite: 0, slowWrite: 0)
        let bench = try Bench(DelayBackend(base, latencies))
        var slow = 0
        for _ in 0..<10_000 {
            _ = bench.submit([bench.transfer(.read, block: 0)])
            if bench.poll().isEmpty {
                slow += 1
                bench.channel.abandonHeld()
                #expect(bench.poll().map(\.status) == [.success])
            }
        }
        #expect((60...140).contains(slow))
    }

    @Test func `changes a latency while it runs`() throws {
        let latencies = try DelayLatencies(
            averageRead: 100, slowRead: 100, averageWrite: 0, slowWrite: 0)
        let backend = DelayBackend(base, latencies)
        let bench = try Bench(backend)
        backend.update(.averageRead, microseconds: 0)
        backend.update(.slowRead, microseconds: 0)
        _ = bench.submit([bench.transfer(.read, block: 0)])
        #expect(bench.poll().count == 1)
        #expect(backend.created == latencies)
    }

    @Test func `refuses a slow latency below the average`() {
        #expect(throws: BdevError.self) {
            try DelayLatencies(averageRead: 2, slowRead: 1, averageWrite: 0, slowWrite: 0)
        }
    }
}

@Suite struct `Error disk` {
    let disk: Mapping
    let backend: ErrorBackend
    let bench: Bench

    init() throws {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 64)
        disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        let base = BlockDevice(name: "base", backend: MallocBackend(disk, geometry))
        backend = ErrorBackend(base)
        bench = try Bench(backend)
    }

    @Test func `fails as many requests as it was told to`() throws {
        backend.inject(try ErrorInjection(.failure, count: 2), into: .read)
        let requests = (0..<4).map { bench.transfer(.read, tag: UInt32($0), block: 0) }
        #expect(bench.submit(requests) == 4)
        let failed = bench.poll().filter { $0.status == .failed }.map(\.tag)
        #expect(failed == [0, 1])
        #expect(bench.run(bench.transfer(.write, block: 0)) == .success)
    }

    @Test func `keeps a request until it is abandoned`() throws {
        backend.inject(try ErrorInjection(.pending))
        _ = bench.submit([bench.transfer(.read, block: 0)])
        #expect(bench.poll().isEmpty)
        bench.channel.abandonHeld()
        #expect(bench.poll().map(\.status) == [.aborted])
    }

    @Test func `fails pending requests when it is cleared`() throws {
        backend.inject(try ErrorInjection(.pending, count: 5))
        _ = bench.submit([bench.transfer(.read, block: 0)])
        #expect(bench.poll().isEmpty)
        let time = try #require(bench.channel.wakeTime)
        #expect(time > bench.now)
        backend.clear()
        bench.now = time
        #expect(bench.poll().map(\.status) == [.failed])
        #expect(bench.run(bench.transfer(.read, block: 0)) == .success)
    }

    @Test func `takes a request again after it had no memory`() throws {
        backend.inject(try ErrorInjection(.noMemory))
        let request = bench.transfer(.read, block: 0)
        #expect(bench.submit([request]) == 0)
        #expect(bench.submit([request]) == 0)
        bench.now = try #require(bench.channel.wakeTime)
        #expect(bench.submit([request]) == 1)
        #expect(bench.poll().map(\.status) == [.success])
    }

    @Test func `spoils what is read and not the disk`() throws {
        backend.inject(try ErrorInjection(.corruptData(offset: 600, value: 0x0F)), into: .read)
        let request = BlockRequest(
            .read, tag: 0, block: 0, blockCount: 2, segments: bench.list([0..<599, 700..<1125]))
        #expect(bench.run(request) == .success)
        #expect(bench.memory.bytes.load(UInt8.self, at: 701) == 0x0F)
        #expect(disk.bytes.segment.bytes().allSatisfy { $0 == 0 })
    }

    @Test func `spoils what is written and not the host's memory`() throws {
        backend.inject(try ErrorInjection(.corruptData(offset: 3, value: 0xFF)), into: .write)
        #expect(bench.run(bench.transfer(.write, block: 1)) == .success)
        #expect(disk.bytes.load(UInt8.self, at: 515) == 0xFF)
        #expect(bench.memory.bytes.segment.bytes().allSatisfy { $0 == 0 })
        #expect(bench.run(bench.transfer(.write, block: 1)) == .success)
        #expect(disk.bytes.load(UInt8.self, at: 515) == 0)
    }

    @Test func `strikes at a queue depth only`() throws {
        backend.inject(try ErrorInjection(.failure, count: 9, queueDepth: 2), into: .read)
        let requests = (0..<4).map { bench.transfer(.read, tag: UInt32($0), block: 0) }
        _ = bench.submit(requests)
        #expect(bench.poll().filter { $0.status == .failed }.map(\.tag) == [2, 3])
    }

    @Test func `refuses a corruption that changes nothing`() {
        #expect(throws: BdevError.self) { try ErrorInjection(.corruptData(offset: 0, value: 0)) }
    }
}

@Suite struct `Part of a disk` {
    let geometry = BlockGeometry(blockByteCount: 512, blockCount: 64)

    @Test func `reaches its own blocks only`() throws {
        let disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        let base = BlockDevice(name: "base", backend: MallocBackend(disk, geometry))
        let bench = try Bench(PartBackend(base, 16..<32))
        #expect(bench.device.geometry.blockCount == 16)
        bench.memory.bytes.segment.fill(with: 3)
        #expect(bench.run(bench.transfer(.write, block: 0)) == .success)
        #expect(bench.run(bench.transfer(.write, block: 15)) == .success)
        #expect(bench.run(bench.transfer(.write, block: 16)) == .invalid)
        let written = disk.bytes.segment.bytes().enumerated().filter { $0.element == 3 }
        #expect(Set(written.map { $0.offset / 512 }) == [16, 31])
        #expect(base.statistics().write.requestCount == 2)
        #expect(throws: BdevError.self) { try PartBackend(base, 60..<65) }
    }

    @Test func `follows the size of a base that it is all of`() throws {
        let null = NullBackend(geometry)
        let base = BlockDevice(name: "base", backend: null)
        let device = BlockDevice(name: "pass", backend: PartBackend(base))
        null.resize(toBlockCount: 7)
        base.refreshGeometry()
        device.refreshGeometry()
        #expect(device.geometry.blockCount == 7)
    }
}
