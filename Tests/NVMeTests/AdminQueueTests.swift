import CWire
import Memory
import NVMe
import Platform
import Testing

@Suite struct `Admin queue` {
    /// An admin queue and its driver.
    private final class Bench {
        static let base: UInt64 = 0x10_0000
        let mapping: Mapping
        let pages: Mapping
        let functionMapping: Mapping
        let memory: HostMemory
        let line = CountingLine()
        var queue: AdminQueue
        var tail = 0
        var head = 0
        var phase: UInt16 = 1

        init(version: Int = MemoryVersions.newest) throws {
            mapping = try Mapping.fresh(byteCount: 65536)
            pages = try Mapping.fresh(byteCount: 4096)
            functionMapping = try Mapping.fresh(
                byteCount: NVMeMemory.byteCount(queueCount: 1))
            memory = HostMemory(
                generation: 1,
                regions: [
                    HostRegion(
                        guestAddress: Self.base, byteCount: 65536, userAddress: 0,
                        mapping: mapping, mappingOffset: 0)
                ])
            _ = try NVMeMemory(adopting: functionMapping, queueCount: 1, wanting: version)
            queue = try Self.open(memory, functionMapping, pages, line)
        }

        static func model() -> ControllerModel {
            ControllerModel(
                ControllerModel.Configuration(
                    subsystemNQN: "nqn", serialNumber: "S", modelNumber: "M", controllerID: 1,
                    vendorID: 1, subsystemVendorID: 1, namespaceLimit: 4, namespaceCountLimit: 4,
                    isSingleController: true, queueCount: 0, queueSize: 64, vectorCount: 1,
                    mdts: 3, firmwareSlotCount: 1))
        }

        private static func open(
            _ memory: HostMemory, _ functionMapping: Mapping, _ pages: Mapping,
            _ line: CountingLine
        ) throws -> AdminQueue {
            try AdminQueue(
                submission: SubmissionQueueSetup(
                    id: 0, address: base, size: 8, completionQueue: 0,
                    tail: .page(pages.bytes.part(at: 0, byteCount: 4))),
                completion: CompletionQueueSetup(
                    id: 0, address: base + 4096, size: 8, vector: 0, isInterruptEnabled: true,
                    head: .page(pages.bytes.part(at: 4, byteCount: 4))),
                memory: memory, journal: try NVMeMemory(adopting: functionMapping, queueCount: 1),
                interrupt: line, counters: QueueCounters())
        }

        func kill() throws { queue = try Self.open(memory, functionMapping, pages, line) }

        func push(id: UInt16, prp1: UInt64 = base + 8192, flags: UInt8 = 0) {
            var sqe = nvme_sqe()
            sqe.opcode = UInt8(NVME_ADMIN_IDENTIFY)
            sqe.command_id = id
            sqe.flags = flags
            sqe.prp1 = prp1
            sqe.prp2 = Self.base + 16384
            mapping.bytes.store(sqe, at: 64 * tail)
            tail = (tail + 1) % 8
            pages.bytes.storeRelease32(UInt32(tail), at: 0)
        }

        func poll() { _ = queue.poll(now: Ticks(0)) }
        func next() -> AdminCommand? { queue.next() }
        func read(_ slot: Int, _ count: Int) throws -> [UInt8] {
            try queue.read(slot, byteCount: count)
        }
        func write(_ slot: Int, _ data: [UInt8]) throws { try queue.write(slot, data) }
        var outstanding: Int { queue.outstanding }
        func arm() -> Bool { queue.enableDoorbellEvents() }

        func reap() -> nvme_cqe? {
            let cqe = mapping.bytes.load(nvme_cqe.self, at: 4096 + 16 * head)
            if cqe.status & 1 != phase { return nil }
            head = (head + 1) % 8
            if head == 0 { phase = 1 - phase }
            pages.bytes.storeRelease32(UInt32(head), at: 4)
            return cqe
        }
    }

    @Test func `commands are handed out and answered with data`() throws {
        let bench = try Bench()
        for round in 0..<20 {
            bench.push(id: UInt16(round), prp1: Bench.base + 8192 + 2048)
            bench.poll()
            let command = try #require(bench.next())
            #expect(command.command.command_id == UInt16(round) && !command.mayBeDone)
            #expect(command.sequence == UInt64(round))
            let data = (0..<4096).map { UInt8(truncatingIfNeeded: $0 + round) }
            try bench.queue.write(command.slot, data)
            bench.queue.complete(command.slot, .success, result: 77)
            bench.poll()
            let cqe = try #require(bench.reap())
            #expect(cqe.result == 77 && cqe.status >> 1 == 0 && cqe.command_id == UInt16(round))
            #expect(bench.line.raised == round + 1)
            #expect(bench.mapping.bytes.load(UInt8.self, at: 8192 + 2048) == UInt8(round))
            #expect(bench.mapping.bytes.load(UInt8.self, at: 16384) == UInt8((2048 + round) & 0xFF))
        }
    }

    @Test func `data that cannot move becomes the status`() throws {
        let bench = try Bench()
        for (prp, flags, wanted) in [
            (UInt64(2), UInt8(0), NVMeStatus.prpOffset), (4096, 0, .dataTransferError),
            (Bench.base, 0x40, .invalidField),
        ] {
            bench.push(id: 1, prp1: prp, flags: flags)
            bench.poll()
            let command = try #require(bench.next())
            #expect(throws: wanted) { try bench.read(command.slot, 4096) }
            #expect(throws: wanted) { try bench.write(command.slot, [1, 2, 3, 4]) }
            bench.queue.complete(command.slot, wanted)
            #expect(bench.reap()?.status == wanted.rawValue << 1 | bench.phase)
        }
    }

    @Test func `host data is read once`() throws {
        let bench = try Bench()
        bench.mapping.bytes.part(at: 8192, byteCount: 16).segment.fill(with: 5)
        bench.push(id: 1)
        bench.poll()
        let command = try #require(bench.next())
        #expect(try bench.read(command.slot, 16) == [UInt8](repeating: 5, count: 16))
    }

    @Test func `open commands survive their service`() throws {
        let bench = try Bench()
        for id in 0..<5 { bench.push(id: UInt16(id)) }
        bench.poll()
        let first = try #require(bench.next())
        _ = bench.next()
        bench.queue.complete(first.slot, .success)
        try bench.kill()
        #expect(bench.outstanding == 4 && !bench.arm())
        bench.poll()
        var found: [UInt16] = []
        while let command = bench.next() {
            #expect(!command.mayBeDone && command.sequence == UInt64(command.command.command_id))
            found.append(command.command.command_id)
            bench.queue.complete(command.slot, .success)
        }
        #expect(found == [1, 2, 3, 4])
        var answers: [UInt16] = []
        while let cqe = bench.reap() { answers.append(cqe.command_id) }
        #expect(answers == [0, 1, 2, 3, 4])
    }

    @Test func `a recorded outcome is posted, and what has none is handed out again`() throws {
        let bench = try Bench()
        for id in 0..<4 { bench.push(id: UInt16(id)) }
        bench.poll()
        let commands = try (0..<4).map { _ in try #require(bench.next()) }
        var records = OutcomeRecord(
            try NVMeMemory(adopting: bench.functionMapping, queueCount: 1))
        let model = Bench.model()
        // The third aborts the first; the second stays open; the fourth is decided only.
        records.decide(commands[0].slot, .abortRequested, by: commands[2])
        records.settle(commands[2], .success, result: 8, with: model)
        records.decide(commands[3].slot, .internalError, by: commands[3])
        for _ in 0..<2 {
            try bench.kill()
            bench.poll()
            let found = [bench.next(), bench.next(), bench.next()]
            #expect(found.map { $0?.command.command_id } == [1, 3, nil])
        }
        bench.poll()
        let answers = [bench.reap(), bench.reap(), bench.reap()]
        #expect(answers.map { $0?.command_id } == [0, 2, nil])
        #expect(answers[0]?.status == NVMeStatus.abortRequested.rawValue << 1 | 1)
        #expect(answers[1]?.status == 1 && answers[1]?.result == 8)
        // Another command reaches the mark of the one that was decided and never settled.
        records.settle(commands[3], .success, with: model)
        bench.queue.complete(commands[3].slot, .success, result: 3)
        #expect(bench.reap()?.result == 3)
    }

    @Test func `a slot's last outcome is not its next command's`() throws {
        let bench = try Bench()
        var records = OutcomeRecord(
            try NVMeMemory(adopting: bench.functionMapping, queueCount: 1))
        bench.push(id: 1)
        bench.poll()
        let first = try #require(bench.next())
        records.settle(first, .success, with: Bench.model())
        bench.queue.complete(first.slot, .success)
        _ = bench.reap()
        for id in 2..<9 {
            bench.push(id: UInt16(id))
            bench.poll()
            try bench.kill()
            bench.poll()
            let command = try #require(bench.next())
            #expect(command.command.command_id == UInt16(id))
            bench.queue.complete(command.slot, .success)
            #expect(bench.reap()?.command_id == UInt16(id))
        }
    }

    @Test func `memory of version 1 does not say what was done`() throws {
        let bench = try Bench(version: 1)
        bench.push(id: 1)
        bench.poll()
        let command = try #require(bench.next())
        #expect(!command.mayBeDone)
        var records = OutcomeRecord(
            try NVMeMemory(adopting: bench.functionMapping, queueCount: 1))
        records.settle(command, .success, with: Bench.model())
        try bench.kill()
        bench.poll()
        #expect(bench.next()?.mayBeDone == true)
    }

    @Test func `nothing is handed out whose answer could not be posted`() throws {
        let bench = try Bench()
        bench.push(id: 1)
        bench.poll()
        bench.queue.exchange(memory: HostMemory(generation: 2, regions: []))
        #expect(bench.next() == nil && bench.arm(), "its reactor may sleep meanwhile")
        bench.queue.exchange(memory: bench.memory)
        #expect(!bench.arm() && bench.next()?.command.command_id == 1)
    }

    @Test func `an end that comes while the ring is away is posted when it is back`() throws {
        let bench = try Bench()
        bench.push(id: 3)
        bench.poll()
        let command = try #require(bench.next())
        bench.queue.exchange(memory: HostMemory(generation: 2, regions: []))
        bench.queue.complete(command.slot, .success, result: 9)
        bench.poll()
        #expect(bench.reap() == nil && bench.outstanding == 1)
        bench.queue.exchange(memory: bench.memory)
        #expect(!bench.arm())
        bench.poll()
        let cqe = try #require(bench.reap())
        #expect(cqe.command_id == 3 && cqe.result == 9 && cqe.status >> 1 == 0)
        #expect(bench.outstanding == 0 && bench.line.raised == 1)
    }

    @Test func `a doorbell begins at zero when its queue is created`() throws {
        let bench = try Bench()
        bench.pages.bytes.storeRelease32(5, at: 8)
        Doorbell.page(bench.pages.bytes.part(at: 8, byteCount: 4)).clear(in: bench.memory)
        #expect(bench.pages.bytes.loadAcquire32(at: 8) == 0)
        // One that is not in host memory is nobody's.
        Doorbell.host(value: 8, eventIndex: 16).clear(in: bench.memory)
    }

    @Test func `open commands leave room for themselves only`() throws {
        let bench = try Bench()
        for id in 0..<7 { bench.push(id: UInt16(id)) }
        bench.poll()
        #expect(bench.outstanding == 7)
        let one = try #require(bench.next())
        bench.queue.complete(one.slot, .success)
        bench.push(id: 7)
        bench.poll()
        // Its completion stands and was not consumed: no room is promised twice.
        #expect(bench.outstanding == 6)
        _ = bench.reap()
        bench.poll()
        #expect(bench.outstanding == 7)
        bench.queue.discard()
        while let command = bench.next() { bench.queue.complete(command.slot, .success) }
        bench.poll()
        #expect(bench.reap() == nil)
    }
}
