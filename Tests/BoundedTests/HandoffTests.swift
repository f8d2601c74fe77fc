import Bounded
import Platform
import Testing

@Suite struct `Handoff queue` {
    @Test func `refuses what it has no room for`() {
        let queue = HandoffQueue<Int>(capacity: 2)
        #expect(queue.give(1) && queue.give(2) && !queue.give(3))
        #expect(queue.take() == 1)
        #expect(queue.give(3))
        #expect([queue.take(), queue.take(), queue.take()] == [2, 3, nil])
    }

    @Test func `keeps order and content between two threads`() throws {
        let queue = HandoffQueue<UInt64>(capacity: 16)
        let count: UInt64 = 200_000
        let giver = try Thread(name: "giver") {
            var next: UInt64 = 0
            while next < count { if queue.give(next) { next += 1 } else { relaxProcessor() } }
        }
        var expected: UInt64 = 0
        while expected < count {
            guard let value = queue.take() else { continue }
            if value != expected { Issue.record("\(value) instead of \(expected)") }
            expected += 1
        }
        giver.join()
        #expect(queue.take() == nil)
    }
}

@Suite struct `Counter table` {
    @Test func `counts from several threads exactly`() throws {
        let table = CounterTable(count: 2)
        let threads = try (0..<3).map { _ in
            try Thread(name: "counter") { for _ in 0..<50_000 { table.add(2, at: 1) } }
        }
        for thread in threads { thread.join() }
        #expect(table[0] == 0 && table[1] == 300_000)
        table.reset()
        #expect(table[1] == 0)
    }
}
