import CWire
import Memory
import NVMeOF
import Testing

/// What the device is given for commands whose memory the target reaches: captured, and compared
/// with what they should cost.
@Suite struct `Work requests of direct commands` {
    @Test(arguments: [NVME_NVM_WRITE, NVME_NVM_READ])
    func `name the memory of the request itself, and nothing else is sent`(
        opcode: Int
    ) throws {
        let world = try CapsuleWorld(depth: 4)
        world.share()
        world.send()
        world.posted = []
        let list = world.list(8192, 4096)
        world.start(
            opcode, block: 16,
            opcode == NVME_NVM_WRITE
                ? .write(list, offset: 0, byteCount: 4096)
                : .read(list, offset: 0, byteCount: 4096), token: 1)
        world.send()
        // The answer's place was given before.
        #expect(world.posted.count == 1)
        guard case .send(let bytes, let entry) = world.posted.first else {
            Issue.record("no capsule was sent")
            return
        }
        #expect(bytes.byteCount == Int(NVME_SQE_BYTES))
        #expect(bytes.address == world.areas.capsule(0).address)
        #expect(Int(entry.opcode) == opcode)
        #expect(entry.prp1 == CapsuleWorld.guestBase + 8192)
        #expect(entry.prp2 & 0xFF_FFFF == 4096)
        #expect(entry.prp2 >> 24 & 0xFFFF_FFFF == UInt64(CapsuleWorld.guestKey))
        #expect(entry.prp2 >> 56 == UInt64(NVME_SGL_KEYED_DATA_BLOCK))
        world.settle()
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.queue.stagedByteCount == 0)
        // No byte of the data has been in the queue's own buffer.
        let buffer = world.areas.mapping.bytes.segment.part(
            at: world.areas.privateByteCount, byteCount: world.areas.bufferByteCount)
        #expect(buffer.bytes().allSatisfy { $0 == 0 })
    }

    /// One send and one receive a command; receives are given in batches.
    @Test(arguments: [1, 2, 7, 64, 127])
    func `are two a command, and receives take few doorbells`(depth: Int) throws {
        let world = try CapsuleWorld(depth: depth, capsule: 0)
        world.share()
        world.send()
        let given = world.places.count
        world.posted = []
        let rounds = 16 * depth
        var doorbells = 0
        for round in 0..<rounds {
            let before = world.posted.count
            world.start(
                NVME_NVM_READ, block: round % 64,
                .read(world.list(0, 512), offset: 0, byteCount: 512), token: 1)
            world.send()
            if world.posted.count - before > 1 { doorbells += 1 }
            world.queue.sent(1)
            world.deliver(CapsuleWorld.answer(to: world.carryOut(0)))
            #expect(world.queue.nextCompletion()?.status == 0)
        }
        let sends = world.posted.count { if case .send = $0 { true } else { false } }
        let receives = world.posted.count - sends
        #expect(sends == rounds)
        // What is idle now has not been given again yet.
        #expect(receives + given - world.places.count == rounds)
        #expect(given - world.places.count <= max(1, depth / 4))
        #expect(doorbells <= rounds / max(1, depth / 4))
        #expect(world.complaints == [])
    }

    /// All commands at once, answered and started again one by one: the target always finds a
    /// place for its answer.
    @Test(arguments: [1, 2, 7, 64])
    func `leave a place for every answer at full depth`(depth: Int) throws {
        let world = try CapsuleWorld(depth: depth, capsule: 0)
        func start() {
            world.start(NVME_NVM_FLUSH, block: 0, .nothing, token: 1)
            world.queue.sent(world.send())
        }
        for _ in 0..<depth { start() }
        for _ in 0..<8 * depth {
            #expect(world.places.count >= world.commands.count)
            world.deliver(CapsuleWorld.answer(to: world.carryOut(0)))
            #expect(world.queue.nextCompletion()?.status == 0)
            start()
        }
        while !world.commands.isEmpty {
            world.deliver(CapsuleWorld.answer(to: world.carryOut(0)))
        }
        #expect(world.complaints == [])
        #expect(world.queue.outstanding == 0)
    }
}
