import Bdev
import CWire
import MallocProbe
import Memory
import NVMe
import Platform
import Testing

@Suite(.serialized) struct `Allocation in the command path` {
    static let rounds = 31_250
    static let depth = 32

    private func run(_ backend: any Backend, usesShadow: Bool, opcodes: [Int]) throws {
        var options = QueueBench.Options()
        options.size = 128
        options.completionSize = 128
        options.usesShadow = usesShadow
        options.view.blockCount = backend.geometry.blockCount
        options.backend = backend
        let bench = try QueueBench(options)
        _ = Self.turns(2, bench, opcodes)
        let allocations = malloc_probe_count()
        let start = Clock.threadNanoseconds()
        let ended = Self.turns(Self.rounds, bench, opcodes)
        let time = Clock.threadNanoseconds() - start
        #expect(malloc_probe_count() == allocations)
        #expect(ended == Self.rounds * Self.depth)
        print(
            "nvme \(usesShadow ? "shadow" : "page") \(backend.productName) \(opcodes):",
            time / UInt64(ended), "ns a command")
    }

    /// - Returns: commands that ended well.
    private static func turns(_ count: Int, _ bench: QueueBench, _ opcodes: [Int]) -> Int {
        var ended = 0
        let now = Ticks(1000)
        let four = bench.command(NVME_NVM_READ, count: 8)
        for round in 0..<count {
            for slot in 0..<depth {
                var sqe = four
                sqe.opcode = UInt8(opcodes[(slot + round) % opcodes.count])
                sqe.command_id = UInt16(slot)
                sqe.cdw10 = UInt32(slot)
                bench.push(sqe)
            }
            bench.ring()
            var left = depth
            while left > 0 {
                _ = bench.queue.poll(now: now)
                while let cqe = bench.reap(consumes: false) {
                    ended += cqe.status >> 1 == 0 ? 1 : 0
                    left -= 1
                }
                bench.consume()
            }
            _ = bench.queue.enableDoorbellEvents()
            bench.queue.disableDoorbellEvents()
        }
        return ended
    }

    @Test(.enabled(if: malloc_probe_is_active()), arguments: [false, true])
    func `a million commands allocate nothing`(usesShadow: Bool) throws {
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 256)
        let both = [NVME_NVM_READ, NVME_NVM_WRITE]
        try run(NullBackend(geometry), usesShadow: usesShadow, opcodes: both)
        let disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        try run(MallocBackend(disk, geometry), usesShadow: usesShadow, opcodes: both)
        if usesShadow { return }
        try run(
            MallocBackend(disk, geometry), usesShadow: false,
            opcodes: both + [NVME_NVM_FLUSH, NVME_NVM_VERIFY])
    }
}
