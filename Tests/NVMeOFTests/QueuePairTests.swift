import CWire
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

@Suite struct `Queue pair` {
    private func behaviours(_ seed: inout Seed) -> TargetBehaviour {
        var behaviour = TargetBehaviour()
        behaviour.digests = seed.pick(0...3)
        behaviour.dataAlignment = seed.pick(0...31)
        behaviour.dataLimit = [4096, 8192, 1 << 17][seed.pick(0...2)]
        behaviour.capsuleDataByteCount = [0, 4096, 8192][seed.pick(0...2)]
        behaviour.grantByteCount = [512, 4096, 20480, 1 << 20][seed.pick(0...3)]
        behaviour.grantsAtOnce = seed.pick(1...4)
        behaviour.chunkByteCount = [512, 4096, 12288, 1 << 20][seed.pick(0...3)]
        behaviour.completesWithData = seed.oneIn(2)
        return behaviour
    }

    /// Random reads and writes, checked against what was written before, on every kind of target,
    /// however the stream is cut.
    @Test(arguments: Seed.sample(Effort.of(24)))
    func `moves every byte to its place`(seed: Seed) throws {
        var seed = seed
        let world = try QueuePairWorld(behaviours(&seed), seed: seed)
        world.target.padding = seed.pick(0...8) * 4
        world.connect()
        #expect(world.queue.nextCompletion()?.status == 0)
        world.stride = [1, 7, 100, 5000, 1 << 20][seed.pick(0...4)]
        let blocks = world.stride < 100 ? 4 : 48
        for _ in 0..<4 { try exchange(world, &seed, blocks: blocks) }
        #expect(world.target.complaints == [])
        #expect(world.queue.phase == .ready)
    }

    /// A batch of commands on disjoint blocks and memory, then a look at both.
    private func exchange(
        _ world: QueuePairWorld, _ seed: inout Seed, blocks limit: Int
    ) throws {
        var expected: [Int: [UInt8]] = [:]
        for index in 0..<world.queue.options.depth {
            let blocks = seed.pick(1...limit)
            let byteCount = blocks * QueuePairWorld.blockByteCount
            let place = index << 16
            let disk = index * 64 * QueuePairWorld.blockByteCount
            let isWrite = seed.oneIn(2)
            let list = world.list(at: place, byteCount, pieces: seed.pick(1...40))
            let memory = world.memory.bytes.segment.part(at: place, byteCount: byteCount)
            if isWrite {
                let bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &seed) }
                memory.store(bytes: bytes)
                expected[place] = bytes
            } else {
                memory.fill(with: 0xEE)
                expected[place] = Array(world.target.bytes[disk..<disk + byteCount])
            }
            let command = QueuePairWorld.command(
                isWrite ? NVME_NVM_WRITE : NVME_NVM_READ, block: UInt64(index * 64),
                byteCount: byteCount)
            world.queue.start(
                command,
                isWrite
                    ? .write(list, offset: 0, byteCount: byteCount)
                    : .read(list, offset: 0, byteCount: byteCount), token: UInt64(index))
        }
        world.settle()
        var ended: Set<UInt64> = []
        while let completion = world.queue.nextCompletion() {
            #expect(completion.status == 0)
            #expect(ended.insert(completion.token).inserted)
        }
        #expect(ended.count == world.queue.options.depth)
        for (place, bytes) in expected {
            let found = world.memory.bytes.segment.part(at: place, byteCount: bytes.count)
            #expect(found.bytes() == bytes)
            let disk = place >> 16 * 64 * QueuePairWorld.blockByteCount
            #expect(Array(world.target.bytes[disk..<disk + bytes.count]) == bytes)
        }
    }

    @Test func `gathers data of more segments than a train has`() throws {
        let world = try QueuePairWorld(TargetBehaviour(), seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        let bytes = (0..<65536).map { UInt8(truncatingIfNeeded: $0 >> 4) }
        world.memory.bytes.segment.store(bytes: bytes)
        let list = world.list(at: 0, 65536, pieces: 1000)
        let command = QueuePairWorld.command(NVME_NVM_WRITE, block: 0, byteCount: 65536)
        world.queue.start(command, .write(list, offset: 0, byteCount: 65536), token: 1)
        world.settle()
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(Array(world.target.bytes[..<65536]) == bytes)
        #expect(world.queue.stagedByteCount >= 65536)
    }

    @Test func `sends data from where it is, and receives it where it goes`() throws {
        let world = try QueuePairWorld(TargetBehaviour(), seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        let size = 1 << 20
        let written = world.list(at: 0, size)
        let read = world.list(at: size, size)
        for (opcode, transfer) in [
            (NVME_NVM_WRITE, QueuePair.Transfer.write(written, offset: 0, byteCount: size)),
            (NVME_NVM_READ, .read(read, offset: 0, byteCount: size)),
        ] {
            let before = (world.queue.directByteCount, world.queue.stagedByteCount)
            world.queue.start(
                QueuePairWorld.command(opcode, block: 0, byteCount: size), transfer, token: 1)
            while world.step() {}
            #expect(world.queue.nextCompletion()?.status == 0)
            let staged = world.queue.stagedByteCount - before.1
            #expect(staged < 2048)
            #expect(world.queue.directByteCount - before.0 == UInt64(size) - staged)
        }
    }

    @Test func `passes a range of Dataset Management`() throws {
        for capsule in [0, 8192] {
            var behaviour = TargetBehaviour()
            behaviour.capsuleDataByteCount = capsule
            let world = try QueuePairWorld(behaviour, seed: Seed(1))
            world.connect()
            _ = world.queue.nextCompletion()
            world.target.bytes.replaceSubrange(0..<2048, with: [UInt8](repeating: 1, count: 2048))
            var command = nvme_sqe()
            command.opcode = UInt8(NVME_NVM_DATASET_MANAGEMENT)
            command.namespace_id = 1
            command.cdw11 = UInt32(NVME_DSM_DEALLOCATE)
            let range = nvme_dsm_range(attributes: 0, block_count: 2, block: 1)
            world.queue.start(command, .range(range), token: 1)
            world.settle()
            #expect(world.queue.nextCompletion()?.status == 0)
            #expect(Array(world.target.bytes[..<2048]).firstIndex(of: 0) == 512)
            #expect(Array(world.target.bytes[..<2048]).lastIndex(of: 0) == 1535)
        }
    }
}
