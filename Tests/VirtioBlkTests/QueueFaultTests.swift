import Bdev
import HostileDescriptors
import Memory
import Platform
import Testing
import VirtioBlk

@Suite struct `Queue faults` {
    private func refusal(_ change: (inout VirtqueueSetup) -> Void) throws -> QueueFault? {
        let bench = try QueueBench()
        var setup = QueueBench.setup(bench.options)
        change(&setup)
        do throws(QueueFault) {
            _ = try BlockQueue(
                setup, memory: bench.memory, log: nil,
                configuration: QueueBench.configuration(bench.disk, isInOrder: false),
                channel: nil, interrupt: bench.line, counters: QueueCounters())
            return nil
        } catch { return error }
    }

    @Test(arguments: [0, 3, 48, 65536])
    func `a split ring of a strange size is refused`(size: Int) throws {
        #expect(try refusal { $0.size = size } == .badSize)
    }

    @Test func `misaligned areas are refused`() throws {
        #expect(try refusal { $0.descriptorArea += 8 } == .misaligned)
        #expect(try refusal { $0.driverArea += 1 } == .misaligned)
        #expect(try refusal { $0.deviceArea += 2 } == .misaligned)
    }

    @Test func `areas outside granted memory are refused`() throws {
        let end = QueueBench.userStart + UInt64(QueueBench.byteCount)
        #expect(try refusal { $0.descriptorArea = end } == .notMapped)
        #expect(try refusal { $0.deviceArea = end - 16 } == .notMapped)
        #expect(try refusal { $0.driverArea = .max - 15 } == .notMapped)
    }

    @Test func `a packed position past the end is refused`() throws {
        let fault = try refusal {
            $0.isPacked = true
            $0.position.nextUsed = 16
        }
        #expect(fault == .descriptorIndex)
    }

    @Test func `an available index more than a ring ahead ends the queue`() throws {
        let bench = try QueueBench()
        bench.offer([], index: 17)
        bench.poll()
        #expect(bench.fault == .availableIndex)
    }

    @Test func `a head past the end ends the queue`() throws {
        let bench = try QueueBench()
        bench.offer([16])
        bench.poll()
        #expect(bench.fault == .descriptorIndex)
    }

    @Test func `a chain that loops ends the queue`() throws {
        let bench = try QueueBench()
        bench.describe(0, address: bench.address(30000), length: 16, flags: 1, next: 0)
        bench.offer([0])
        bench.poll()
        #expect(bench.fault == .endlessChain)
    }

    @Test(arguments: [(0, 4), (17, 4), (32, 5), (16 * 5000, 4)])
    func `a malformed indirect table ends the queue`(length: Int, flags: Int) throws {
        let bench = try QueueBench()
        bench.describe(0, address: bench.address(30000), length: length, flags: flags)
        bench.offer([0])
        bench.poll()
        #expect(bench.fault == .indirectTable)
    }

    @Test func `an indirect table that was not negotiated ends the queue`() throws {
        var options = QueueBench.Options()
        options.allowsIndirect = false
        let bench = try QueueBench(options)
        bench.describe(0, address: bench.address(30000), length: 16, flags: 4)
        bench.offer([0])
        bench.poll()
        #expect(bench.fault == .indirectTable)
    }

    @Test func `a call that blocks ends the queue`() throws {
        let bench = try QueueBench()
        bench.line.isBlocked = true
        bench.header(type: 8, sector: 0, at: 30000)
        bench.describe(0, address: bench.address(30000), length: 16, flags: 1, next: 1)
        bench.describe(1, address: bench.address(31000), length: 21, flags: 2)
        bench.offer([0])
        bench.poll()
        #expect(bench.fault == .interruptBlocked)
    }

    @Test func `an in-flight region of another ring is refused`() throws {
        let log = try Mapping.fresh(byteCount: 8192)
        log.bytes.store(UInt16(1), at: 8)
        log.bytes.store(UInt16(32), at: 10)
        #expect(throws: QueueFault.inflightRegion) { _ = try QueueBench(.init(), log: log) }
        let short = try Mapping.fresh(byteCount: 64)
        #expect(throws: QueueFault.inflightRegion) { _ = try QueueBench(.init(), log: short) }
    }

    @Test(.enabled(if: hostile_may_truncate()), arguments: [false, true])
    func `memory that was cut short ends the queue with that reason`(isBusy: Bool) throws {
        let byteCount = QueueBench.byteCount + 2 * QueueBench.canaryByteCount
        let path = "/dev/shm/softsnap-test-\(ProcessFacts.identifier)-\(isBusy)"
        let file = try FileSystem.open(path, .replace)
        try FileSystem.remove(path)
        try FileSystem.resize(file.number, byteCount: UInt64(byteCount))
        let mapping = try Mapping(file.number, byteCount: byteCount)
        let bench = try QueueBench(.init(), mapping: mapping)
        bench.header(type: 8, sector: 0, at: 30000)
        bench.describe(0, address: bench.address(30000), length: 16, flags: 1, next: 1)
        bench.describe(1, address: bench.address(31000), length: 21, flags: 2)
        bench.offer([0])
        bench.poll()
        #expect(bench.usedIndex == 1)
        if isBusy { bench.offer([0, 0], index: 2) }
        try FileSystem.resize(file.number, byteCount: 0)
        // Under load, or when the queue is about to be left alone.
        bench.poll()
        if !isBusy {
            for _ in 0..<3 where bench.queue.enableKicks() == false { bench.poll() }
        }
        #expect(bench.fault == .memoryGone)
    }
}

@Suite struct `Hostile chains` {
    /// A driver makes more chains available than the ring has entries while one is under way: legal
    /// for a stranger, and never a reason to stop the process.
    @Test func `more answers in a turn than the ring has entries are logged`() throws {
        let base = QueueBench.geometry
        let disk = try Mapping.fresh(byteCount: Int(base.byteCount))
        var options = QueueBench.Options()
        options.size = 4
        options.hasLog = true
        options.backend = SlowBackend(MallocBackend(disk, base))
        let bench = try QueueBench(options)
        bench.header(type: 0, sector: 0, at: 30000)
        bench.header(type: 99, sector: 0, at: 30016)
        bench.describe(0, address: bench.address(30000), length: 16, flags: 1, next: 1)
        bench.describe(1, address: bench.address(31000), length: 513, flags: 2)
        bench.describe(2, address: bench.address(30016), length: 16, flags: 1, next: 3)
        bench.describe(3, address: bench.address(32000), length: 1, flags: 2)
        bench.offer([0, 0, 0])
        bench.poll()
        #expect(bench.queue.outstanding == 3)
        bench.offer([2, 2, 2, 2], index: 7)
        bench.bytes.store(UInt16(2), at: QueueBench.driverOffset + 4 + 6)
        bench.poll(3)
        #expect(bench.fault == nil)
        #expect(bench.queue.outstanding == 0)
    }

    @Test func `a turn is bounded although every request is refused`() throws {
        var options = QueueBench.Options()
        options.size = 1024
        options.allowsIndirect = false
        let bench = try QueueBench(options)
        bench.header(type: 99, sector: 0, at: 30000)
        bench.describe(0, address: bench.address(30000), length: 16, flags: 1, next: 1)
        bench.describe(1, address: bench.address(31000), length: 1, flags: 2)
        bench.offer(Array(repeating: 0, count: 1024))
        bench.poll()
        #expect(bench.usedIndex <= 64)
        bench.poll(20)
        #expect(bench.usedIndex == 1024)
    }
}
