/// Hands out the numbers 0 ..< capacity, each to one user at a time, the last returned first.
@safe
public struct SlotPool: ~Copyable {
    private var free: BoundedArray<UInt32>
    private var isTaken: FixedTable<Bool>

    public init(capacity: Int) {
        free = BoundedArray(capacity: capacity)
        isTaken = FixedTable(count: capacity, repeating: false)
        for slot in stride(from: capacity - 1, through: 0, by: -1) { free.append(UInt32(slot)) }
    }

    public var capacity: Int { free.capacity }
    public var freeCount: Int { free.count }
    public var takenCount: Int { free.capacity &- free.count }

    /// A free slot; nil when all are taken.
    public mutating func take() -> UInt32? {
        if free.isEmpty { return nil }
        let slot = free[free.count &- 1]
        free.removeLast()
        isTaken[Int(slot)] = true
        return slot
    }

    public mutating func giveBack(_ slot: UInt32) {
        precondition(isTaken[Int(slot)], "slot given back twice")
        isTaken[Int(slot)] = false
        free.append(slot)
    }

    public func isTaken(_ slot: UInt32) -> Bool { isTaken[Int(slot)] }
}
