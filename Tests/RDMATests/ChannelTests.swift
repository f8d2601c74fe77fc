import Bounded
import MallocProbe
import Memory
import Platform
import RDMA
import Seeds
import Synchronization
import Testing

@Suite(.serialized, .enabled(if: TestDevice.isThere, TestDevice.reason))
struct `Verbs channel` {
    /// A service's end of a channel, on a completion queue of its own.
    // Sendable: used by one thread at a time; whoever hands it over joins the thread it gave it to.
    final class Service: @unchecked Sendable {
        let queue: CompletionQueue
        let channel: VerbsChannel
        let link: World.Link
        let memory: World.Buffer
        private var batch = CompletionBatch(capacity: 16)
        private var ends: BoundedArray<VerbsChannel.End>

        init(_ world: World, depth: Int = 16, byteCount: Int = 1 << 16) throws {
            queue = try CompletionQueue(world.device, capacity: 4 * depth)
            link = try world.link(queue: queue, sends: depth, receives: depth)
            channel = VerbsChannel(link.here)
            memory = try world.memory(byteCount)
            ends = BoundedArray(capacity: depth)
        }

        /// Submits, and waits until nothing is under way. Failures, in their order.
        func settle() -> [VerbsChannel.End] {
            var failures: [VerbsChannel.End] = []
            guard channel.submit() else {
                return [VerbsChannel.End(tag: .max, status: .localOperation)]
            }
            while channel.room < channel.depth {
                for index in 0..<queue.poll(into: &batch) {
                    channel.finish(batch[index], into: &ends)
                }
                for index in 0..<ends.count where ends[index].status != .success {
                    failures.append(ends[index])
                }
                ended += ends.count
                ends.removeAll()
            }
            return failures
        }

        private(set) var ended = 0
    }

    @Test(arguments: Seed.sample(3)) func `ends each transfer of a batch`(seed: Seed) throws {
        var seed = seed
        let world = try World()
        let service = try Service(world)
        let host = try world.memory(1 << 16)
        host.fill(11)
        service.memory.fill(12)
        var own = service.memory.bytes.bytes()
        var hosts = host.bytes.bytes()
        var given = 0
        for _ in 0..<20 {
            // Each transfer has a lane of 4096 bytes for itself: nothing in a batch depends on
            // what else is in it.
            for lane in 0..<seed.pick(1...16) {
                let count = seed.pick(1...4096)
                let place = lane * 4096 + seed.pick(0...4096 - count)
                let segment = service.memory.region.part(at: place, byteCount: count)
                let remote = host.region.remote(at: place)
                let range = place..<place + count
                if seed.oneIn(2) {
                    #expect(service.channel.read(remote, into: segment, tag: 1))
                    own.replaceSubrange(range, with: hosts[range])
                } else {
                    #expect(service.channel.write(segment, to: remote, tag: 2))
                    hosts.replaceSubrange(range, with: own[range])
                }
                given += 1
            }
            #expect(service.settle().isEmpty)
        }
        #expect(service.ended == given && service.channel.failure == nil)
        #expect(service.link.here.counters.doorbells == 20)
        #expect(service.memory.bytes.bytes() == own && host.bytes.bytes() == hosts)
        #expect(service.channel.bytesRead > 0 && service.channel.bytesWritten > 0)
    }

    @Test func `says which transfer failed, and ends all after it`() throws {
        let world = try World()
        let service = try Service(world)
        let host = try world.memory(4096)
        service.memory.bytes.fill(with: 0xAA)
        let segment = service.memory.region.part(byteCount: 64)
        let wrong = RemoteAddress(host.region.remote().address, key: 0x1234_5678)
        #expect(service.channel.write(segment, to: host.region.remote(), tag: 1))
        #expect(service.channel.write(segment, to: wrong, tag: 2))
        #expect(service.channel.write(segment, to: host.region.remote(at: 64), tag: 3))
        let failures = service.settle()
        #expect(
            failures == [
                VerbsChannel.End(tag: 2, status: .remoteAccess),
                VerbsChannel.End(tag: 3, status: .flushed),
            ])
        #expect(service.ended == 3 && service.channel.failure == .remoteAccess)
        #expect(host.bytes.part(at: 0, byteCount: 64).bytes().allSatisfy { $0 == 0xAA })
        #expect(host.bytes.part(at: 64, byteCount: 64).bytes().allSatisfy { $0 == 0 })
    }

    @Test func `has room for so many transfers and no more`() throws {
        let world = try World()
        let service = try Service(world, depth: 2)
        let host = try world.memory(4096)
        let segment = service.memory.region.part(byteCount: 8)
        #expect(service.channel.write(segment, to: host.region.remote(), tag: 1))
        #expect(service.channel.read(host.region.remote(), into: segment, tag: 2))
        #expect(!service.channel.write(segment, to: host.region.remote(), tag: 3))
        #expect(!service.channel.read(host.region.remote(), into: segment, tag: 4))
        #expect(!service.channel.notify(segment, tag: 5))
        #expect(service.channel.bytesWritten == 8 && service.channel.bytesRead == 8)
        #expect(service.settle().isEmpty && service.channel.room == 2)
    }

    @Test func `writes behind a fence what a read has brought`() throws {
        let world = try World()
        let service = try Service(world)
        let host = try world.memory(8192)
        let through = service.memory.region.part(byteCount: 4096)
        for round in 0..<100 {
            host.bytes.part(at: 0, byteCount: 4096).fill(with: UInt8(truncatingIfNeeded: round))
            #expect(service.channel.read(host.region.remote(), into: through, tag: 1))
            service.channel.fence()
            #expect(service.channel.write(through, to: host.region.remote(at: 4096), tag: 2))
            #expect(service.settle().isEmpty)
            let copy = host.bytes.part(at: 4096, byteCount: 4096)
            #expect(copy.isEqual(to: host.bytes.part(at: 0, byteCount: 4096)), "round \(round)")
        }
        #expect(service.link.here.counters.doorbells == 100)
    }

    /// A host that polls its completion entry sees the data behind it, and one that waits for the
    /// interrupt sees both. Every round's data is another one, in the same place.
    @Test(arguments: [true, false])
    func `shows data before its entry, and the entry before the interrupt`(
        polls: Bool
    ) throws {
        let world = try World()
        let service = try Service(world)
        let host = try world.memory(8192)
        let messages = try world.memory(4096)
        let rounds = Effort.of(400)
        let acknowledged = Atomic<Int>(0)
        let entry = try #require(SharedWord(host.bytes, at: 4096))
        let serve: @Sendable () -> Void = {
            for round in 1...rounds {
                let end = World.deadline(seconds: 10)
                while acknowledged.load(ordering: .acquiring) < round - 1 {
                    if Clock.monotonicNanoseconds() > end { return }
                }
                service.memory.bytes.part(at: 0, byteCount: 4096).fill(
                    with: UInt8(truncatingIfNeeded: round))
                service.memory.bytes.store(UInt64(round), at: 4096)
                let data = service.memory.region.part(byteCount: 4096)
                let mark = service.memory.region.part(at: 4096, byteCount: 8)
                guard service.channel.write(data, to: host.region.remote(), tag: 1),
                    service.channel.write(mark, to: host.region.remote(at: 4096), tag: 2),
                    service.channel.notify(mark, tag: 3), service.settle().isEmpty
                else { return }
            }
        }
        func receive(_ round: Int) {
            let segment = messages.region.part(byteCount: 8)
            #expect(service.link.there.prepareReceive(into: segment, tag: UInt64(round)))
            #expect(service.link.there.post() == 0)
        }
        receive(1)
        try beside(serve) {
            for round in 1...rounds {
                if polls {
                    let end = World.deadline(seconds: 10)
                    while entry.load() != UInt64(round) {
                        try #require(Clock.monotonicNanoseconds() < end, "round \(round)")
                    }
                } else {
                    let ends = try world.ends(1, on: service.link.there)
                    #expect(ends.map(\.tag) == [UInt64(round)])
                    #expect(messages.bytes.load(UInt64.self) == UInt64(round))
                    #expect(entry.load() == UInt64(round))
                }
                let first = host.bytes.load(UInt8.self)
                let last = host.bytes.load(UInt8.self, at: 4095)
                let expected = UInt8(truncatingIfNeeded: round)
                #expect(first == expected && last == expected, "round \(round)")
                if polls { _ = try world.ends(1, on: service.link.there) }
                receive(round + 1)
                acknowledged.store(round, ordering: .releasing)
            }
        }
    }

    /// The reset rule: the host's side ends its region, and from then on nothing is written.
    @Test func `writes nothing once the host has ended its region`() throws {
        let world = try World()
        for _ in 0..<10 {
            let service = try Service(world)
            let mapping = try Mapping.fresh(byteCount: 4096)
            var region: MemoryRegion? = try MemoryRegion(
                world.domain, mapping, byteCount: 4096, access: [.remoteWrite])
            let place = try #require(region).remote()
            let rounds = Atomic<Int>(0)
            let last = Atomic<UInt32>(0)
            let serve: @Sendable () -> Void = {
                while true {
                    let round = rounds.add(1, ordering: .relaxed).newValue
                    service.memory.bytes.part(at: 0, byteCount: 512).fill(
                        with: UInt8(truncatingIfNeeded: round))
                    let segment = service.memory.region.part(byteCount: 512)
                    _ = service.channel.write(segment, to: place, tag: UInt64(round))
                    if let failure = service.settle().first {
                        last.store(failure.status.rawValue, ordering: .releasing)
                        return
                    }
                }
            }
            try beside(serve) {
                while rounds.load(ordering: .relaxed) < 20 { relaxProcessor() }
                #expect(region != nil)
                region = nil
                let seen = mapping.bytes.segment.bytes()
                Clock.sleep(nanoseconds: 20_000_000)
                #expect(mapping.bytes.segment.bytes() == seen)
            }
            #expect(last.load(ordering: .acquiring) == WorkStatus.remoteAccess.rawValue)
        }
    }

    @Test(.enabled(if: malloc_probe_is_active()))
    func `allocates nothing from transfer to end`() throws {
        let world = try World()
        let service = try Service(world)
        let host = try world.memory(1 << 16)
        func round() -> Int {
            for lane in 0..<15 {
                let segment = service.memory.region.part(at: lane * 4096, byteCount: 512)
                let remote = host.region.remote(at: lane * 4096)
                let isThere =
                    lane % 2 == 0
                    ? service.channel.write(segment, to: remote, tag: 1)
                    : service.channel.read(remote, into: segment, tag: 2)
                if !isThere { return 1 }
            }
            return service.settle().count
        }
        for _ in 0..<3 { _ = round() }
        let allocations = malloc_probe_count()
        var failures = 0
        for _ in 0..<200 { failures += round() }
        #expect(malloc_probe_count() == allocations)
        #expect(failures == 0 && service.ended == 203 * 15)
    }
}

/// Runs `body` while `work` runs on a thread of its own, and returns when both have ended.
private func beside(
    _ work: @escaping @Sendable () -> Void, _ body: () throws -> Void
) throws {
    let thread = try Thread(name: "service", work)
    defer { thread.join() }
    try body()
}

/// A word that another party stores.
struct SharedWord {
    private let bytes: HostSegment

    /// Nil unless it is aligned to 8.
    init?(_ segment: HostSegment, at offset: Int) {
        bytes = segment.part(at: offset, byteCount: 8)
        if bytes.address & 7 != 0 { return nil }
    }

    func load() -> UInt64 {
        defer { fullFence() }
        return bytes.loadWord(at: 0)
    }
}
