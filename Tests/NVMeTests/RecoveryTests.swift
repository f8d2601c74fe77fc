import Bdev
import CWire
import Memory
import NVMe
import Platform
import Testing

/// A service dies at any store and another one goes on.
@Suite struct `Recovery` {
    private static let slotByteCount = MemoryLayout<nvme_in_flight_slot>.size

    private static func bench(backend: Bool = true) throws -> QueueBench {
        var options = QueueBench.Options()
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 256)
        if backend { options.backend = SlowBackend(NullBackend(geometry)) }
        let bench = try QueueBench(options)
        return bench
    }

    /// The journal of completion queue 1.
    private static func journal(_ bench: QueueBench) -> SharedBytes {
        let header = bench.functionMapping.bytes.load(nvme_memory_header.self, at: 0)
        let start = Int(header.journal_offset) + Int(header.journal_stride)
        return bench.functionMapping.bytes.part(
            at: start, byteCount: 64 + slotByteCount * NVMeMemory.inFlightLimit)
    }

    /// The slot of command `id`, in the journal.
    private static func slot(_ bench: QueueBench, of id: UInt16) -> Int? {
        let journal = journal(bench)
        for slot in 0..<NVMeMemory.inFlightLimit {
            let entry = journal.load(nvme_in_flight_slot.self, at: 64 + slotByteCount * slot)
            if entry.state == 1 && entry.command.command_id == id {
                return 64 + slotByteCount * slot
            }
        }
        return nil
    }

    private static func consumed(_ bench: QueueBench) -> SharedBytes {
        let header = bench.functionMapping.bytes.load(nvme_memory_header.self, at: 0)
        return bench.functionMapping.bytes.part(
            at: Int(header.queue_offset) + MemoryLayout<nvme_queue_cell>.size + 256, byteCount: 8)
    }

    /// Three commands taken, none answered.
    private static func threeInFlight() throws -> QueueBench {
        let bench = try bench()
        for id in 0..<3 { bench.push(bench.command(NVME_NVM_READ, id: UInt16(id))) }
        bench.ring()
        bench.poll()
        #expect(bench.outstanding == 3 && bench.reap() == nil)
        return bench
    }

    @Test func `what was in flight is done again`() throws {
        let bench = try Self.threeInFlight()
        try bench.kill()
        #expect(bench.outstanding == 3)
        #expect(!bench.arm())
        #expect(bench.drainAnswers() == [0: .success, 1: .success, 2: .success])
        // Again and again, at any age of the queue.
        for round in 0..<40 {
            for id in 0..<3 { bench.push(bench.command(NVME_NVM_READ, id: UInt16(id))) }
            bench.ring()
            bench.poll(round % 4)
            try bench.kill()
            #expect(bench.drainAnswers().count == 3)
        }
    }

    @Test func `a slot past the consumed count is taken from the ring again`() throws {
        let bench = try Self.threeInFlight()
        // Died before the count moved.
        Self.consumed(bench).storeRelease64(1, at: 0)
        try bench.kill()
        #expect(bench.outstanding == 1)
        #expect(bench.drainAnswers() == [0: .success, 1: .success, 2: .success])
    }

    @Test func `a completion that was to come is posted at its place`() throws {
        let bench = try Self.threeInFlight()
        let slot = try #require(Self.slot(bench, of: 1))
        Self.journal(bench).store(UInt32(1 << 31 | 1 << 16), at: slot + 72)
        try bench.kill()
        #expect(bench.outstanding == 3)
        #expect(bench.drainAnswers() == [0: .success, 1: .success, 2: .success])
    }

    @Test(arguments: [false, true])
    func `a completion that stands closes its slot`(hasMoved: Bool) throws {
        let bench = try Self.threeInFlight()
        let slot = try #require(Self.slot(bench, of: 1))
        Self.journal(bench).store(UInt32(1 << 31 | 1 << 16), at: slot + 72)
        bench.bytes.store(
            nvme_cqe(
                result: 0, result_high: 0, sq_head: 3, sq_id: 1, command_id: 1, status: 1),
            at: QueueBench.completionOffset)
        if hasMoved { Self.journal(bench).store(UInt32(1 << 16 | 1), at: 0) }
        try bench.kill()
        #expect(bench.outstanding == 2)
        #expect(bench.drainAnswers() == [0: .success, 1: .success, 2: .success])
    }

    @Test func `waiting commands survive`() throws {
        let bench = try QueueBench()
        for id in 0..<8 { bench.push(bench.command(NVME_NVM_VERIFY, id: UInt16(id))) }
        bench.ring()
        bench.poll(3)
        var answers = [UInt16]()
        while let cqe = bench.reap() { answers.append(cqe.command_id) }
        try bench.kill()
        answers += bench.drainAnswers().keys
        #expect(answers.sorted() == Array(0..<8))
    }

    struct Settling: Sendable, CustomStringConvertible {
        var description: String
        var stage: UInt8
        var disk: UInt8
        var wanted: [NVMeStatus]
        var found: UInt8
    }

    static let settlings = [
        Settling(
            description: "not begun", stage: 0, disk: 1, wanted: [.success, .success], found: 2),
        Settling(
            description: "not begun, other data", stage: 0, disk: 9,
            wanted: [.compareFailure, .failedFused], found: 9),
        Settling(
            description: "old data", stage: 1, disk: 1, wanted: [.success, .success], found: 2),
        Settling(
            description: "new data", stage: 1, disk: 2, wanted: [.success, .success], found: 2),
        Settling(
            description: "neither", stage: 1, disk: 9,
            wanted: [.commandInterrupted, .commandInterrupted], found: 9),
        Settling(
            description: "known mismatch", stage: 2, disk: 1,
            wanted: [.compareFailure, .failedFused], found: 1),
        Settling(
            description: "known success", stage: 3, disk: 9, wanted: [.success, .success],
            found: 9),
        Settling(
            description: "known failure", stage: 4, disk: 1, wanted: [.success, .writeFault],
            found: 1),
    ]

    @Test(arguments: settlings)
    func `a fused pair is settled by what the disk holds`(settling: Settling) throws {
        let bench = try QueueBench()
        bench.data(0, 512).fill(with: 1)
        bench.data(4096, 512).fill(with: 2)
        bench.diskBytes.bytes.segment.fill(with: 1)
        var compare = bench.command(NVME_NVM_COMPARE, id: 1)
        var write = bench.command(NVME_NVM_WRITE, id: 2, data: 4096)
        compare.flags = 1
        write.flags = 2
        bench.push(compare)
        bench.push(write)
        bench.ring()
        bench.poll()
        let slot = try #require(Self.slot(bench, of: 2))
        Self.journal(bench).store(settling.stage, at: slot + 79)
        bench.diskBytes.bytes.segment.fill(with: settling.disk)
        try bench.kill()
        let answers = bench.drainAnswers()
        #expect([answers[1], answers[2]] == settling.wanted)
        #expect(bench.diskBytes.bytes.load(UInt8.self, at: 0) == settling.found)
    }

    @Test func `a journal that does not fit is refused`() throws {
        let bench = try Self.threeInFlight()
        let slot = try #require(Self.slot(bench, of: 1))
        Self.journal(bench).store(UInt16(77), at: slot + 76)
        #expect(throws: NVMeMemoryError.self) { try bench.kill() }
        Self.journal(bench).store(UInt16(1), at: slot + 76)
        Self.journal(bench).store(UInt32(500), at: 0)
        #expect(throws: QueueFault.journal) { try bench.kill() }
    }
}
