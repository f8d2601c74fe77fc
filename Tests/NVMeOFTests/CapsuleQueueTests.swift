import Bounded
import CWire
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

@Suite struct `Capsule queue` {
    /// Random reads and writes, checked against what was written before, with little buffer and
    /// with much, and with data in capsules or without.
    @Test(arguments: Seed.sample(Effort.of(24)))
    func `moves every byte to its place`(seed: Seed) throws {
        var seed = seed
        let world = try CapsuleWorld(
            depth: seed.pick(1...16), capsule: [0, 4096][seed.pick(0...1)],
            buffer: [1 << 16, 1 << 18][seed.pick(0...1)], seed: seed)
        for _ in 0..<6 { exchange(world, &seed) }
        #expect(world.complaints == [])
        #expect(world.queue.phase == .ready)
        #expect(world.queue.outstanding == 0)
    }

    private func exchange(_ world: CapsuleWorld, _ seed: inout Seed) {
        var expected: [Int: [UInt8]] = [:]
        let depth = world.queue.shape.depth
        for index in 0..<depth {
            let byteCount = seed.pick(1...100) * CapsuleWorld.blockByteCount
            let place = index << 16
            let list = world.list(place, byteCount + 64, pieces: seed.pick(1...20))
            let bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &seed) }
            let disk = index << 16 & 0xF_FFFF
            if seed.oneIn(2) {
                world.guest(place + 64, byteCount).store(bytes: bytes)
                world.start(
                    NVME_NVM_WRITE, block: disk / 512,
                    .write(list, offset: 64, byteCount: byteCount), token: UInt64(index))
                expected[place] = bytes
            } else {
                world.disk.replaceSubrange(disk..<disk + byteCount, with: bytes)
                world.start(
                    NVME_NVM_READ, block: disk / 512,
                    .read(list, offset: 64, byteCount: byteCount), token: UInt64(index))
                expected[place] = bytes
            }
        }
        #expect(!world.queue.hasRoom)
        world.settle()
        var ended: Set<UInt64> = []
        while let completion = world.queue.nextCompletion() {
            #expect(completion.status == 0)
            #expect(ended.insert(completion.token).inserted)
        }
        #expect(ended.count == depth)
        for (place, bytes) in expected {
            #expect(world.guest(place + 64, bytes.count).bytes() == bytes)
            let disk = place & 0xF_FFFF
            #expect(Array(world.disk[disk..<disk + bytes.count]) == bytes)
        }
    }

    @Test(arguments: [0, 4096])
    func `passes a range, and commands without data`(capsule: Int) throws {
        let world = try CapsuleWorld(capsule: capsule)
        world.disk.replaceSubrange(0..<2048, with: [UInt8](repeating: 1, count: 2048))
        let range = nvme_dsm_range(attributes: 0, block_count: 2, block: 1)
        world.start(NVME_NVM_DATASET_MANAGEMENT, block: 0, .range(range), token: 1)
        world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 2)
        world.settle()
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.disk[..<2048].firstIndex(of: 0) == 512)
        #expect(world.disk[..<2048].lastIndex(of: 0) == 1535)
        #expect(world.complaints == [])
    }

    @Test func `holds commands while the buffer is full, in order`() throws {
        let world = try CapsuleWorld(depth: 4, capsule: 0, buffer: 8192)
        for index in 0..<4 {
            let list = world.list(index << 16, 4096)
            world.start(
                NVME_NVM_READ, block: index * 8, .read(list, offset: 0, byteCount: 4096),
                token: UInt64(index))
        }
        #expect(world.send() == 2)
        #expect(world.send() == 0)
        world.deliver(CapsuleWorld.answer(to: world.carryOut(1)))
        #expect(world.send() == 1)
        world.queue.sent(3)
        #expect(world.queue.nextCompletion()?.token == 1)
        world.settle()
        #expect(world.queue.nextCompletion()?.token != nil)
        #expect(world.queue.outstanding == 0)
    }

    @Test func `keeps a slot until its capsule has gone`() throws {
        let world = try CapsuleWorld(depth: 1)
        world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 1)
        world.send()
        world.deliver(CapsuleWorld.answer(to: world.carryOut(0)))
        #expect(world.queue.nextCompletion()?.token == 1)
        // The device may send the capsule again.
        #expect(!world.queue.hasRoom)
        world.queue.sent(1)
        #expect(world.queue.hasRoom)
    }

    @Test func `sends no more commands at once than the target takes`() throws {
        let world = try CapsuleWorld(depth: 8)
        world.queue.commandLimit = 2
        for token in 1...2 { world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: UInt64(token)) }
        #expect(!world.queue.hasRoom)
        world.settle()
        #expect(world.queue.hasRoom)
    }

    @Test func `touches no memory of a read that was given up`() throws {
        let world = try CapsuleWorld()
        world.guest(0, 4096).fill(with: 0xEE)
        let read = QueuePair.Transfer.read(world.list(0, 4096), offset: 0, byteCount: 4096)
        world.start(NVME_NVM_READ, block: 0, read, token: 1)
        let write = QueuePair.Transfer.write(world.list(8192, 512), offset: 0, byteCount: 512)
        world.start(NVME_NVM_WRITE, block: 64, write, token: 2)
        world.send()
        #expect(world.queue.revokeRead(token: 1))
        #expect(!world.queue.revokeRead(token: 1))
        #expect(!world.queue.revokeRead(token: 2))
        world.queue.sent(2)
        world.settle()
        #expect(world.queue.nextCompletion()?.token == 2)
        #expect(world.queue.nextCompletion() == nil)
        #expect(world.guest(0, 4096).bytes() == [UInt8](repeating: 0xEE, count: 4096))
        #expect(world.queue.outstanding == 0)
    }

    @Test func `gives statuses on, and no data of a command that failed`() throws {
        let world = try CapsuleWorld()
        world.guest(0, 512).fill(with: 0xEE)
        let read = QueuePair.Transfer.read(world.list(0, 512), offset: 0, byteCount: 512)
        world.start(NVME_NVM_READ, block: 0, read, token: 1)
        world.queue.sent(world.send())
        world.deliver(CapsuleWorld.answer(to: world.carryOut(0), status: 0x4281))
        #expect(world.queue.nextCompletion()?.status == 0x4281)
        #expect(world.guest(0, 512).bytes() == [UInt8](repeating: 0xEE, count: 512))
    }
}

/// Requests whose memory the target reaches.
@Suite struct `Direct memory of requests` {
    @Test(arguments: Seed.sample(Effort.of(16)))
    func `is read and written without a copy where it is one run`(seed: Seed) throws {
        var seed = seed
        let world = try CapsuleWorld(depth: 8, capsule: [0, 4096][seed.pick(0...1)], seed: seed)
        world.share()
        for index in 0..<8 {
            let byteCount = seed.pick(1...120) * CapsuleWorld.blockByteCount
            // Cut into pieces that follow each other, it is one run still.
            let list = world.list(index << 16, byteCount + 128, pieces: seed.pick(1...5))
            let bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &seed) }
            let disk = index << 16
            let isWrite = index % 2 == 0
            let before = (world.queue.directByteCount, world.queue.stagedByteCount)
            if isWrite {
                world.guest(index << 16 + 128, byteCount).store(bytes: bytes)
            } else {
                world.disk.replaceSubrange(disk..<disk + byteCount, with: bytes)
            }
            world.start(
                isWrite ? NVME_NVM_WRITE : NVME_NVM_READ, block: disk / 512,
                isWrite
                    ? .write(list, offset: 128, byteCount: byteCount)
                    : .read(list, offset: 128, byteCount: byteCount), token: 1)
            world.settle()
            #expect(world.queue.nextCompletion()?.status == 0)
            #expect(world.queue.directByteCount - before.0 == UInt64(byteCount))
            #expect(world.queue.stagedByteCount == before.1)
            #expect(Array(world.disk[disk..<disk + byteCount]) == bytes)
            #expect(world.guest(index << 16 + 128, byteCount).bytes() == bytes)
        }
        #expect(world.complaints == [])
    }

    @Test func `is staged where it is not one run, or not all of it is shared`() throws {
        let world = try CapsuleWorld(capsule: 0)
        world.share()
        let end = world.memory.byteCount - (64 << 10)
        let arena = SegmentArena(capacity: 2)
        arena[0] = world.guest(0, 512)
        arena[1] = world.guest(1024, 512)
        let lists = [
            (arena.list(at: 0, count: 2), 1024), (world.list(end - 512, 1024), 1024),
            (world.list(end, 512), 512),
        ]
        for (list, byteCount) in lists {
            let before = world.queue.stagedByteCount
            world.start(
                NVME_NVM_READ, block: 3, .read(list, offset: 0, byteCount: byteCount), token: 1)
            world.settle()
            #expect(world.queue.nextCompletion()?.status == 0)
            #expect(world.queue.stagedByteCount - before == UInt64(byteCount))
            let found = (0..<list.count).flatMap { list[$0].bytes() }
            #expect(found == Array(world.disk[3 * 512..<3 * 512 + byteCount]))
        }
        #expect(world.queue.directByteCount == 0)
    }

    @Test func `of a read under way is not given up; before that it is not touched`() throws {
        let world = try CapsuleWorld()
        world.share()
        world.guest(0, 1024).fill(with: 0xEE)
        for token in 0..<2 {
            world.start(
                NVME_NVM_READ, block: 0,
                .read(world.list(token * 512, 512), offset: 0, byteCount: 512),
                token: UInt64(token))
            if token == 0 { world.send() }
        }
        #expect(!world.queue.revokeRead(token: 0))
        #expect(world.queue.revokeRead(token: 1))
        world.queue.sent(1)
        world.settle()
        #expect(world.queue.nextCompletion()?.token == 0)
        #expect(world.queue.nextCompletion() == nil)
        #expect(world.guest(512, 512).bytes() == [UInt8](repeating: 0xEE, count: 512))
        #expect(world.queue.directByteCount == 512)
    }

    @Test func `that is shared no more is staged`() throws {
        let world = try CapsuleWorld()
        world.share()
        world.queue.direct.removeAll()
        let read = QueuePair.Transfer.read(world.list(0, 512), offset: 0, byteCount: 512)
        world.start(NVME_NVM_READ, block: 0, read, token: 0)
        world.settle()
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.queue.stagedByteCount == 512)
    }
}

/// What a target does that is not right ends the connection, and nothing is touched from then on.
@Suite struct `Hostile RDMA target` {
    private func victim() throws -> CapsuleWorld {
        let world = try CapsuleWorld(depth: 4)
        world.guest(0, 1 << 16).fill(with: 0xEE)
        let read = QueuePair.Transfer.read(world.list(0, 4096), offset: 0, byteCount: 4096)
        world.start(NVME_NVM_READ, block: 0, read, token: 7)
        return world
    }

    private func expectEnd(_ world: CapsuleWorld, _ fault: ConnectionFault) {
        #expect(world.queue.phase == .ending(fault))
        #expect(!world.queue.hasRoom)
        #expect(world.queue.nextCapsule() == nil)
        #expect(world.queue.nextAnswerPlace() == nil)
        // The first cause counts; answers that still come have no effect.
        world.queue.end(.revoked)
        if let entry = world.commands.first?.entry {
            world.deliver(CapsuleWorld.answer(to: entry))
        }
        #expect(world.queue.nextCompletion() == nil)
        #expect(world.guest(0, 1 << 16).bytes() == [UInt8](repeating: 0xEE, count: 1 << 16))
        world.queue.finishEnd()
        #expect(world.queue.phase == .ended(fault))
        #expect(world.queue.nextLost() == 7)
        #expect(world.queue.nextLost() == nil)
    }

    @Test(arguments: [0, 4, 15, 17])
    func `an answer of another size`(byteCount: Int) throws {
        let world = try victim()
        world.send()
        world.deliver(
            CapsuleWorld.answer(to: world.commands[0].entry), byteCount: byteCount)
        expectEnd(world, .header)
    }

    @Test(arguments: [UInt16(0x1000), 1, 3, 4, 0xFFF, 0xFFFF])
    func `an answer to a command that is none`(change: UInt16) throws {
        let world = try victim()
        world.send()
        var answer = CapsuleWorld.answer(to: world.commands[0].entry)
        answer.command_id ^= change
        world.deliver(answer)
        expectEnd(world, .unknownCommand)
    }

    @Test func `a second answer`() throws {
        let world = try CapsuleWorld(depth: 4)
        world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 1)
        world.send()
        let answer = CapsuleWorld.answer(to: world.commands[0].entry)
        world.deliver(answer)
        world.deliver(answer)
        #expect(world.queue.phase == .ending(.unknownCommand))
        #expect(world.queue.nextCompletion()?.token == 1)
        #expect(world.queue.nextCompletion() == nil)
        world.queue.finishEnd()
        #expect(world.queue.nextLost() == nil)
    }

    @Test func `an answer to an earlier use of a slot`() throws {
        let world = try CapsuleWorld(depth: 1)
        world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 1)
        world.queue.sent(world.send())
        let old = CapsuleWorld.answer(to: world.carryOut(0))
        world.deliver(old)
        world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 2)
        world.send()
        world.deliver(old)
        #expect(world.queue.phase == .ending(.unknownCommand))
    }

    @Test func `an answer before its command`() throws {
        let world = try victim()
        while let place = world.queue.nextAnswerPlace() { world.places.append(place) }
        // Slot 0, first use.
        world.deliver(nvme_cqe())
        expectEnd(world, .earlyAnswer)
    }

    @Test func `nothing at all: its commands are lost with the connection`() throws {
        let world = try victim()
        world.send()
        world.queue.end(.closed)
        expectEnd(world, .closed)
    }
}
