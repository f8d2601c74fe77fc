import Bdev
import CWire
import MallocProbe
import Memory
import NVMeOF
import Platform
import Seeds
import Testing

/// The I/O path of a connection, against a target that costs nothing: both ends are memory.
@Suite struct `Allocation on a queue pair` {
    static let rounds = 10_000

    @Test(.enabled(if: malloc_probe_is_active()), arguments: [0, 3])
    func `commands allocate nothing`(digests: Int) throws {
        var behaviour = TargetBehaviour()
        behaviour.digests = digests
        let world = try QueuePairWorld(behaviour, depth: 4, seed: Seed(1))
        world.connect()
        _ = world.queue.nextCompletion()
        let answer = try Answer(world, digests: digests)
        answer.run(rounds: 10)
        let allocations = malloc_probe_count()
        let start = Clock.threadNanoseconds()
        let ended = answer.run(rounds: Self.rounds)
        let time = Clock.threadNanoseconds() - start
        #expect(malloc_probe_count() - allocations == 0)
        #expect(ended == 2 * Self.rounds)
        print("digests \(digests): \(time / UInt64(ended)) ns a command of 4 KiB")
    }

    /// Capsules against a target that costs nothing, through the buffer or without a copy.
    @Test(.enabled(if: malloc_probe_is_active()), arguments: [false, true])
    func `capsules allocate nothing`(isDirect: Bool) throws {
        let world = try CapsuleWorld(depth: 4, capsule: 0)
        if isDirect { world.share() }
        let list = world.list(0, 4096)
        let command = QueuePairWorld.command(NVME_NVM_READ, block: 0, byteCount: 4096)
        _ = world.read(command, list, rounds: 10)
        let allocations = malloc_probe_count()
        let start = Clock.threadNanoseconds()
        let ended = world.read(command, list, rounds: Self.rounds)
        let time = Clock.threadNanoseconds() - start
        #expect(malloc_probe_count() - allocations == 0)
        #expect(ended == Self.rounds)
        print("direct \(isDirect): \(time / UInt64(ended)) ns a command of 4 KiB")
    }

    /// Commands of a bdev's channel over a real connection; the target's thread is not counted.
    @Test(.enabled(if: malloc_probe_is_active()), arguments: [1, 8])
    func `requests over TCP allocate nothing`(channels: Int) async throws {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server)
        let site = RemoteUser.Site()
        let users = try (0..<channels).map { _ in
            try RemoteUser(try bench.bdevs.device("Nvme0n1"), depth: 4, at: site)
        }
        #expect(Self.count(users, rounds: 20).ended == 20 * channels)
        let counted = Self.count(users, rounds: 500)
        #expect(counted.ended == 500 * channels)
        #expect(counted.allocations == 0)
    }

    /// Each user reads once in a round. On one thread from the first to the last.
    private static func count(
        _ users: [RemoteUser], rounds: Int
    ) -> (ended: Int, allocations: UInt64) {
        for user in users { user.prepare(user.request(.read, block: 1)) }
        let before = malloc_probe_count()
        var ended = 0
        for _ in 0..<rounds {
            // By index: a debug build allocates for each element of an iteration.
            for index in 0..<users.count { users[index].submitPrepared() }
            var left = users.count
            while left > 0 {
                for index in 0..<users.count { left -= users[index].pollQuietly() }
            }
            ended += users.count
        }
        return (ended, malloc_probe_count() - before)
    }

    /// One write and one read at a time, answered from prepared bytes. Identifiers come back in the
    /// same order every sixteen rounds.
    private final class Answer {
        private let world: QueuePairWorld
        private let write: SegmentList
        private let read: SegmentList
        /// By round: the bytes of the answers, and where they lie.
        private var places: [HostSegment] = []
        private let memory: Mapping
        private var round = 0
        private let writing = QueuePairWorld.command(
            NVME_NVM_WRITE, block: 0, byteCount: 4096)
        private let reading = QueuePairWorld.command(NVME_NVM_READ, block: 0, byteCount: 4096)

        init(_ world: QueuePairWorld, digests: Int) throws {
            self.world = world
            write = world.list(at: 0, 4096)
            read = world.list(at: 8192, 4096)
            let file = try MemoryFile.create(name: "answers", byteCount: 1 << 18)
            memory = try Mapping(file.number, byteCount: 1 << 18)
            let data = [UInt8](repeating: 5, count: 4096)
            // Connect has had slot 0 once.
            for round in 0..<16 {
                let first = UInt16((2 * round + 1) & 15) << 12
                let second = UInt16((2 * round + 2) & 15) << 12
                let hasHeaderDigest = digests & 1 != 0
                let bytes =
                    PDUBytes.response(first, headerDigest: hasHeaderDigest)
                    + PDUBytes.data(
                        second, at: 0, data, flags: 12, headerDigest: hasHeaderDigest,
                        dataDigest: digests & 2 != 0)
                let place = memory.bytes.segment.part(at: round << 13, byteCount: bytes.count)
                place.store(bytes: bytes)
                places.append(place)
            }
        }

        @discardableResult
        func run(rounds: Int) -> Int {
            var ended = 0
            let responseByteCount = places[0].byteCount == 4144 ? 24 : 28
            for _ in 0..<rounds {
                let place = places[round & 15]
                round += 1
                world.queue.start(
                    writing, .write(write, offset: 0, byteCount: 4096), token: 1)
                drain()
                deliver(place.part(at: 0, byteCount: responseByteCount))
                if world.queue.nextCompletion()?.status == 0 { ended += 1 }
                world.queue.start(reading, .read(read, offset: 0, byteCount: 4096), token: 1)
                drain()
                let rest = place.byteCount - responseByteCount
                deliver(place.part(at: responseByteCount, byteCount: rest))
                if world.queue.nextCompletion()?.status == 0 { ended += 1 }
            }
            return ended
        }

        private func drain() {
            while true {
                let list = world.queue.outgoing()
                if list.count == 0 { return }
                world.queue.sent(list.byteCount)
            }
        }

        private func deliver(_ bytes: HostSegment) {
            var offset = 0
            while offset < bytes.byteCount {
                let places = world.queue.incoming()
                var moved = 0
                for index in 0..<places.count where offset < bytes.byteCount {
                    let size = min(places[index].byteCount, bytes.byteCount - offset)
                    places[index].copy(from: bytes.part(at: offset, byteCount: size))
                    offset += size
                    moved += size
                }
                world.queue.received(moved)
            }
        }
    }
}
