import Testing

@testable import RDMA

@Suite struct `Work ring` {
    @Test func `ends requests in their order, also those that asked for no completion`() {
        var ring = WorkRing(capacity: 3)
        let numbers = (10..<13).map { ring.take(tag: $0) }
        #expect(numbers == [0, 1, 2])
        let refused = ring.take(tag: 13)
        #expect(refused == nil && ring.free == 0)
        let first = ring.retire(through: 1)
        #expect(first?.tag == 11 && first?.count == 2)
        #expect(ring.free == 2 && ring.outstanding == 1)
        let next = ring.take(tag: 14)
        #expect(next == 3)
        let rest = ring.retire(through: 3)
        #expect(rest?.tag == 14 && rest?.count == 2 && ring.outstanding == 0)
    }

    @Test func `knows what is not under way`() {
        var ring = WorkRing(capacity: 2)
        let early = ring.retire(through: 0)
        _ = ring.take(tag: 5)
        let other = ring.retire(through: 1)
        let own = ring.retire(through: 0)
        let again = ring.retire(through: 0)
        #expect(early == nil && other == nil && own?.tag == 5 && again == nil)
    }

    @Test func `ends requests one by one`() {
        var ring = WorkRing(capacity: 4)
        for tag in 0..<3 { _ = ring.take(tag: 50 + UInt64(tag)) }
        var ended: [UInt64] = []
        while let request = ring.retireOldest(upTo: 1) { ended.append(request.tag) }
        #expect(ended == [50, 51] && ring.outstanding == 1)
        let notTaken = ring.retireOldest(upTo: 3)
        let last = ring.retireOldest(upTo: 2)
        let none = ring.retireOldest(upTo: 2)
        #expect(notTaken == nil && last?.number == 2 && last?.tag == 52 && none == nil)
    }

    @Test func `takes back what was not posted`() {
        var ring = WorkRing(capacity: 4)
        for tag in 0..<4 { _ = ring.take(tag: UInt64(tag)) }
        ring.giveBack(3)
        #expect(ring.outstanding == 1 && ring.free == 3)
        let next = ring.take(tag: 9)
        #expect(next == 1)
        let end = ring.retire(through: 1)
        #expect(end?.tag == 9 && end?.count == 2)
    }

    @Test func `stops the process when more is given back than was taken`() async {
        await #expect(processExitsWith: .failure) {
            var ring = WorkRing(capacity: 4)
            _ = ring.take(tag: 0)
            ring.giveBack(2)
        }
    }
}

@Suite struct `Completion credits` {
    @Test func `are promised once`() {
        var credits = CompletionCredits(capacity: 10)
        let first = credits.take(6)
        let second = credits.take(5)
        let third = credits.take(4)
        #expect(first && !second && third && credits.free == 0)
    }

    @Test func `of requests under way come back when the queue was seen empty`() {
        var credits = CompletionCredits(capacity: 10)
        _ = credits.take(6)
        _ = credits.take(4)
        credits.giveBack(6, outstanding: 2)
        #expect(credits.free == 4)
        // Another queue pair ends meanwhile.
        credits.giveBack(4, outstanding: 1)
        #expect(credits.free == 7 && credits.abandoned == 3)
        credits.foundEmpty()
        #expect(credits.free == 10 && credits.abandoned == 0)
    }
}

@Suite struct `Work identifier` {
    @Test(arguments: [0, 1, 41, UInt64.max >> 1])
    func `carries number and direction`(number: UInt64) {
        for direction in [WorkIdentifier.Direction.send, .receive] {
            let there = WorkIdentifier(direction, number)
            let back = WorkIdentifier(rawValue: there.rawValue)
            #expect(back.number == number && back.direction == direction)
        }
    }
}
