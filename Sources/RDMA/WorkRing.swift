internal import Bounded

/// The work requests of one direction of a queue pair, in the order of their posting, which is the
/// order of their ends. A request that asked for no completion ends with the next one that did.
struct WorkRing: ~Copyable {
    /// By number modulo capacity: the user's mark.
    private var tags: FixedTable<UInt64>
    /// Number of the next request to be taken; they are counted from 0 and never start again.
    private(set) var next: UInt64 = 0
    /// Number of the oldest request that has not ended.
    private(set) var oldest: UInt64 = 0

    init(capacity: Int) {
        tags = FixedTable(count: capacity, repeating: 0)
    }

    var capacity: Int { tags.count }
    var outstanding: Int { Int(truncatingIfNeeded: next &- oldest) }
    var free: Int { capacity &- outstanding }

    /// Takes a place. Returns the request's number; nil when the ring is full.
    mutating func take(tag: UInt64) -> UInt64? {
        if free == 0 { return nil }
        let number = next
        tags[index(number)] = tag
        next &+= 1
        return number
    }

    /// Gives the last `count` places back: their requests were not posted.
    mutating func giveBack(_ count: Int) {
        precondition(count >= 0 && count <= outstanding)
        next &-= UInt64(count)
    }

    /// Ends request `number` and all before it.
    /// - Returns: its tag and how many ended; nil when it is not under way.
    mutating func retire(through number: UInt64) -> (tag: UInt64, count: Int)? {
        guard number >= oldest, number < next else { return nil }
        let count = Int(truncatingIfNeeded: number &- oldest &+ 1)
        oldest = number &+ 1
        return (tags[index(number)], count)
    }

    /// Ends the oldest request, if it is `number` or before it.
    /// - Returns: its number and tag; nil when `number` and all before it have ended.
    mutating func retireOldest(upTo number: UInt64) -> (number: UInt64, tag: UInt64)? {
        guard oldest <= number, number < next else { return nil }
        let ended = (oldest, tags[index(oldest)])
        oldest &+= 1
        return ended
    }

    private func index(_ number: UInt64) -> Int {
        Int(truncatingIfNeeded: number % UInt64(capacity))
    }
}
