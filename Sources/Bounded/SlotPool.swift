/// Hands out the numbers 0 ..< capacity, each to one user at a time, the last returned first.
public struct SlotPool: ~Copyable {
    private static let none = UInt32.max
    private static let taken = UInt32.max - 1

    /// By slot: the next free one, or that it is taken.
    private var links: FixedTable<UInt32>
    private var firstFree: UInt32
    public private(set) var takenCount = 0

    public init(capacity: Int) {
        precondition(capacity > 0 && capacity < Int(SlotPool.taken))
        links = FixedTable(count: capacity, repeating: SlotPool.none)
        for slot in 0..<capacity - 1 { links[slot] = UInt32(slot + 1) }
        firstFree = 0
    }

    public var capacity: Int { links.count }
    public var freeCount: Int { links.count &- takenCount }

    /// A free slot; nil when all are taken.
    public mutating func take() -> UInt32? {
        let slot = firstFree
        if slot == SlotPool.none { return nil }
        firstFree = links[Int(slot)]
        links[Int(slot)] = SlotPool.taken
        takenCount &+= 1
        return slot
    }

    public mutating func giveBack(_ slot: UInt32) {
        precondition(links[Int(slot)] == SlotPool.taken, "slot given back twice")
        links[Int(slot)] = firstFree
        firstFree = slot
        takenCount &-= 1
    }

    public func isTaken(_ slot: UInt32) -> Bool { links[Int(slot)] == SlotPool.taken }
}
