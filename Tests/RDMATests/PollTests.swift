import MallocProbe
import Memory
import Platform
import RDMA
import Seeds
import Synchronization
import Testing

@Suite(.serialized, .enabled(if: TestDevice.isThere, TestDevice.reason))
struct `RDMA polling` {
    /// Sends eight bytes each time that `go` is raised, from a thread of its own.
    // Sendable: used by its thread alone, once that has started; `go` is atomic.
    private final class Sender: @unchecked Sendable {
        let go = Atomic<Int>(0)
        let queue: CompletionQueue
        let pair: QueuePair
        let memory: World.Buffer

        init(_ queue: CompletionQueue, _ pair: QueuePair, _ memory: World.Buffer) {
            self.queue = queue
            self.pair = pair
            self.memory = memory
        }

        func run(rounds: Int) {
            var batch = CompletionBatch(capacity: 1)
            for round in 1...rounds {
                while go.load(ordering: .acquiring) < round { relaxProcessor() }
                for _ in 0..<round * 37 % 400 { relaxProcessor() }
                let isThere = pair.prepareSend(memory.region.part(byteCount: 8), tag: 0)
                guard isThere, pair.post() == 0 else { return }
                while queue.poll(into: &batch) == 0 { relaxProcessor() }
                _ = pair.retire(batch[0])
            }
        }
    }

    @Test func `wakes a sleeper for every completion`() throws {
        let world = try World()
        let rounds = Effort.of(500)
        let other = try CompletionQueue(world.device, capacity: 64)
        let link = try world.link(queue: other)
        let memory = try world.memory(4096)
        let sender = Sender(other, link.here, memory)
        let thread = try Thread(name: "sender") { sender.run(rounds: rounds) }
        let epoll = try Epoll()
        try epoll.add(world.queue.descriptor, .readable, token: 1)
        var batch = CompletionBatch(capacity: 16)
        var sleeps = 0
        for round in 1...rounds {
            let segment = memory.region.part(at: 64, byteCount: 8)
            #expect(link.there.prepareReceive(into: segment, tag: UInt64(round)))
            #expect(link.there.post() == 0)
            sender.go.store(round, ordering: .releasing)
            // The completion comes before, between or after the next steps.
            world.queue.arm()
            while world.queue.poll(into: &batch) == 0 {
                let woken = epoll.wait(nanoseconds: 5_000_000_000)
                try #require(woken == [1], "asleep in round \(round)")
                sleeps += 1
                world.queue.takeEvents()
            }
            #expect(link.there.retire(batch[0])?.tag == UInt64(round))
        }
        thread.join()
        print("slept in \(sleeps) of \(rounds) rounds")
        #expect(sleeps > rounds / 20)
    }

    @Test(.enabled(if: malloc_probe_is_active()))
    func `allocates nothing from request to end`() throws {
        let world = try World()
        let link = try world.link(sends: 16, receives: 16, inline: 32)
        let near = try world.memory(1 << 16)
        let far = try world.memory(1 << 16)
        var batch = CompletionBatch(capacity: 32)
        func round() -> Int {
            var ended = 0
            for index in 0..<4 {
                let segment = near.region.part(at: index * 4096, byteCount: 4096)
                let place = far.region.remote(at: index * 4096)
                guard link.there.prepareReceive(into: far.region.part(byteCount: 32), tag: 1),
                    link.here.prepareWrite(segment, to: place, tag: 2),
                    link.here.prepareRead(into: segment, from: place, tag: 3),
                    link.here.prepareSend(near.region.part(byteCount: 32), tag: 4)
                else { return -1 }
            }
            guard link.there.post() == 0, link.here.post() == 0 else { return -1 }
            while ended < 16 {
                for index in 0..<world.queue.poll(into: &batch) {
                    let completion = batch[index]
                    let pair = completion.queuePair == link.here.number ? link.here : link.there
                    guard completion.status == .success, let end = pair.retire(completion) else {
                        return -1
                    }
                    ended += end.count
                }
            }
            return ended
        }
        for _ in 0..<3 { _ = round() }
        let allocations = malloc_probe_count()
        var ended = 0
        for _ in 0..<500 { ended += round() }
        #expect(malloc_probe_count() == allocations)
        #expect(ended == 8000)
        #expect(link.here.counters.doorbells == 503 && link.here.counters.sends == 503 * 12)
    }

    @Test func `at a completion queue's end finds what ended queue pairs left`() throws {
        let world = try World(entries: 64)
        var link: World.Link? = try world.link(sends: 16, receives: 16)
        let memory = try world.memory(4096)
        for tag in 0..<16 {
            let isThere = try #require(link).here.prepareReceive(
                into: memory.region.part(byteCount: 8), tag: UInt64(tag))
            #expect(isThere)
        }
        #expect(try #require(link).here.post() == 0)
        try #require(link).here.fail()
        #expect(world.queue.free == 0)
        link = nil
        // Sixteen flushed receives may lie there still.
        #expect(world.queue.free == 48)
        var batch = CompletionBatch(capacity: 4)
        var found = 0
        while true {
            let count = world.queue.poll(into: &batch)
            found += count
            if count < 4 { break }
        }
        #expect(found <= 16 && world.queue.free == 64)
    }
}
