import CWire
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

/// Requests whose memory is in several runs that the target reaches.
@Suite struct `Scattered requests` {
    /// Runs of `sizes`, each 8192 bytes after the one before.
    private func list(_ sizes: [Int], _ world: CapsuleWorld, _ arena: borrowing SegmentArena)
        -> SegmentList
    {
        for (index, size) in sizes.enumerated() {
            arena[index] = world.guest(index * 8192, size)
        }
        return arena.list(at: 0, count: sizes.count)
    }

    @Test(arguments: Seed.sample(Effort.of(16)))
    func `are read and written where they are by a target that takes many descriptors`(
        seed: Seed
    ) throws {
        var seed = seed
        let world = try CapsuleWorld(depth: 4, capsule: 256, seed: seed)
        world.share()
        world.queue.descriptorLimit = 16
        let arena = SegmentArena(capacity: 16)
        for round in 0..<16 {
            let blocks = (0..<seed.pick(2...16)).map { _ in seed.pick(1...16) }
            let list = list(blocks.map { $0 * 512 }, world, arena)
            let byteCount = blocks.reduce(0, +) * 512
            let isWrite = round % 2 == 0
            let bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &seed) }
            if isWrite {
                var from = 0
                for index in 0..<list.count {
                    let size = list[index].byteCount
                    list[index].store(bytes: Array(bytes[from..<from + size]))
                    from += size
                }
            } else {
                world.disk.replaceSubrange(0..<byteCount, with: bytes)
            }
            world.start(
                isWrite ? NVME_NVM_WRITE : NVME_NVM_READ, block: 0,
                isWrite
                    ? .write(list, offset: 0, byteCount: byteCount)
                    : .read(list, offset: 0, byteCount: byteCount), token: 1)
            world.settle()
            #expect(world.queue.nextCompletion()?.status == 0)
            #expect(Array(world.disk[..<byteCount]) == bytes)
            #expect((0..<list.count).flatMap { list[$0].bytes() } == bytes)
        }
        #expect(world.queue.stagedByteCount == 0)
        #expect(world.complaints == [])
    }

    /// A run more than the target takes, a capsule too small, or memory out of its reach.
    @Test(arguments: [(1, 256, 0), (3, 256, 0), (4, 48, 0), (4, 256, 1), (0, 256, 0)])
    func `are staged when the target cannot reach all of them`(
        limit: Int, capsule: Int, outside: Int
    ) throws {
        let world = try CapsuleWorld(depth: 4, capsule: capsule)
        world.share()
        world.queue.descriptorLimit = limit
        let arena = SegmentArena(capacity: 4)
        _ = list([512, 512, 512, 512], world, arena)
        if outside == 1 { arena[2] = world.guest(world.memory.byteCount - 512, 512) }
        world.start(
            NVME_NVM_READ, block: 0, .read(arena.list(at: 0, count: 4), offset: 0, byteCount: 2048),
            token: 1)
        world.settle()
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.queue.stagedByteCount == 2048)
        #expect(world.queue.directByteCount == 0)
        #expect((0..<4).flatMap { arena[$0].bytes() } == Array(world.disk[..<2048]))
        #expect(world.complaints == [])
    }

    /// Neighbours in memory are one run, wherever the list is cut.
    @Test func `need one descriptor a run`() throws {
        let world = try CapsuleWorld(depth: 4, capsule: 256)
        world.share()
        world.queue.descriptorLimit = 2
        let arena = SegmentArena(capacity: 4)
        for (index, start) in [0, 512, 4096, 4608].enumerated() {
            arena[index] = world.guest(start, 512)
        }
        world.start(
            NVME_NVM_WRITE, block: 0,
            .write(arena.list(at: 0, count: 4), offset: 0, byteCount: 2048),
            token: 1)
        world.posted = []
        world.send()
        guard case .send(let capsule, let entry)? = world.posted.last else {
            Issue.record("no capsule was sent")
            return
        }
        #expect(capsule.byteCount == Int(NVME_SQE_BYTES) + 32)
        #expect(entry.prp1 == 0)
        #expect(entry.prp2 == 32 | UInt64(NVME_SGL_LAST_SEGMENT_IN_CAPSULE) << 56)
        world.settle()
        #expect(world.queue.stagedByteCount == 0)
    }
}
