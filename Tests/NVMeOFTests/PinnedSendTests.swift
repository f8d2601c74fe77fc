import Bdev
import CWire
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

/// Writes whose data the kernel reads in place until it gives notice.
@Suite struct `Pinned sends` {
    static let byteCount = 1 << 16

    /// A write that the target has answered, and of whose data the kernel has told nothing.
    private func held(stride: Int = 1 << 20) throws -> QueuePairWorld {
        let world = try QueuePairWorld(TargetBehaviour(), depth: 4, pinned: 4096, seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        world.stride = stride
        write(world, token: 7)
        world.settle()
        #expect(world.pinnedCount > 0)
        return world
    }

    private func write(_ world: QueuePairWorld, token: UInt64, byteCount: Int = byteCount) {
        world.memory.bytes.segment.part(at: 0, byteCount: byteCount).fill(with: 0x5A)
        let command = QueuePairWorld.command(NVME_NVM_WRITE, block: 0, byteCount: byteCount)
        world.queue.start(
            command,
            .write(world.list(at: 0, byteCount, pieces: 3), offset: 0, byteCount: byteCount),
            token: token)
    }

    @Test func `complete a write when the kernel has given the memory back`() throws {
        let world = try held()
        #expect(world.target.bytes[..<Self.byteCount].allSatisfy { $0 == 0x5A })
        #expect(world.queue.nextCompletion() == nil)
        #expect(world.queue.outstanding == 1)
        #expect(world.queue.hasPins)
        world.queue.unpinned(0, world.pinnedCount - 1)
        #expect(world.queue.nextCompletion()?.token == 7)
        #expect(world.queue.outstanding == 0)
        #expect(!world.queue.hasPins)
    }

    /// Small strides make many sends; notices come in any order.
    @Test func `need a notice each`() throws {
        let world = try held(stride: 5_000)
        #expect(world.pinnedCount > 8)
        for number in (0..<world.pinnedCount).reversed() {
            #expect(world.queue.nextCompletion() == nil)
            world.queue.unpinned(number, number)
        }
        #expect(world.queue.nextCompletion()?.status == 0)
        #expect(world.queue.phase == .ready)
    }

    @Test func `leave headers and small data alone`() throws {
        let world = try QueuePairWorld(TargetBehaviour(), depth: 4, pinned: 4096, seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        write(world, token: 1, byteCount: 2048)
        while true {
            #expect(!world.queue.outgoingMayBePinned)
            if !world.step() { break }
        }
        #expect(world.queue.nextCompletion()?.status == 0)
        write(world, token: 2)
        var pinned = 0
        while true {
            let list = world.queue.outgoing()
            if world.queue.outgoingMayBePinned {
                let start = UInt(world.memory.bytes.address)
                let inside = (0..<list.count).allSatisfy { index in
                    UInt(list[index].address) - start < UInt(world.memory.byteCount)
                }
                #expect(inside)
                pinned += list.byteCount
                // One send takes the whole of it.
                world.stride = 1 << 20
            }
            if !world.step() { break }
        }
        #expect(pinned >= Self.byteCount)
    }

    @Test func `are bounded`() throws {
        let world = try QueuePairWorld(TargetBehaviour(), depth: 4, pinned: 4096, seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        world.stride = 64
        write(world, token: 7)
        world.settle()
        #expect(world.pinnedCount == 256)
        #expect(world.queue.nextCompletion() == nil)
        world.queue.unpinned(0, 255)
        #expect(world.queue.nextCompletion()?.status == 0)
    }

    @Test(arguments: [(0, 0), (0, 1000), (1000, 1000)])
    func `of which the kernel tells twice end the connection`(
        first: UInt32, last: UInt32
    ) throws {
        let world = try held()
        if first == last && first == 0 { world.queue.unpinned(0, world.pinnedCount - 1) }
        world.queue.unpinned(first, last)
        #expect(world.queue.phase == .ended(.broken))
    }

    @Test func `under way at the end of the connection lose their command`() throws {
        let world = try held()
        world.queue.end(.closed)
        #expect(world.queue.nextLost() == 7)
        #expect(world.queue.nextLost() == nil)
        world.queue.unpinned(0, 0)
        #expect(world.queue.nextCompletion() == nil)
    }

    @Test func `do not let a target answer twice`() throws {
        let world = try QueuePairWorld(TargetBehaviour(), depth: 4, pinned: 4096, seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        write(world, token: 7)
        let entry = world.queue.outgoing()[0].load(
            nvme_sqe.self, at: MemoryLayout<nvme_tcp_header>.size)
        world.settle()
        #expect(world.queue.outstanding == 1)
        world.deliver(PDUBytes.response(entry.command_id))
        #expect(world.queue.phase == .ended(.unknownCommand))
        #expect(world.queue.nextCompletion() == nil)
    }

    /// Between two ends in one machine the kernel copies: each send is told of as copied, and after
    /// sixteen of them it is not asked any more.
    @Test func `over a real connection move every byte, and stop where the kernel copies`()
        async throws
    {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server) { $0.socket.pinnedByteCount = 4096 }
        let user = try bench.user()
        for round in 0..<64 {
            let bytes = (0..<Self.byteCount).map { UInt8(truncatingIfNeeded: $0 >> 8 &+ round) }
            user.bytes(at: 0, Self.byteCount).store(bytes: bytes)
            let count = UInt64(Self.byteCount / user.device.geometry.blockByteCount)
            #expect(user.run(user.request(.write, block: 0, count: count)) == .success)
            server.withDisk { #expect(Array($0.bytes[..<Self.byteCount]) == bytes) }
        }
        let work = try #require(await bench.remotes.all.first?.paths.first?.work)
        #expect(work.pinnedSends >= 16)
        #expect(work.pinnedSends < 64)
        #expect(work.copiedSends == work.pinnedSends)
        #expect(work.staged == 0)
    }
}
