/// Queues of slots of one pool, by number. A slot waits in one of them at most.
public struct SlotLists: ~Copyable {
    private static let none = UInt32.max

    /// By list.
    private var first: FixedTable<UInt32>
    /// By list, of those that are not empty.
    private var last: FixedTable<UInt32>
    /// By slot: the one behind it.
    private var next: FixedTable<UInt32>

    public init(count: Int, slotCount: Int) {
        precondition(slotCount < Int(SlotLists.none))
        first = FixedTable(count: count, repeating: SlotLists.none)
        last = FixedTable(count: count, repeating: SlotLists.none)
        next = FixedTable(count: slotCount, repeating: SlotLists.none)
    }

    public func isEmpty(_ list: Int) -> Bool { first[list] == SlotLists.none }

    /// Puts `slot` at the end of a list; it is in none.
    public mutating func append(_ slot: UInt32, to list: Int) {
        next[Int(slot)] = SlotLists.none
        if isEmpty(list) {
            first[list] = slot
        } else {
            next[Int(last[list])] = slot
        }
        last[list] = slot
    }

    /// Takes the first slot out of a list; nil when that is empty.
    public mutating func popFirst(of list: Int) -> UInt32? {
        let slot = first[list]
        if slot == SlotLists.none { return nil }
        first[list] = next[Int(slot)]
        return slot
    }
}
