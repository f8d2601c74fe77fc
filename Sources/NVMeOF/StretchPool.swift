internal import Bounded

/// Hands out stretches of consecutive units, the lowest free ones that are long enough.
struct StretchPool: ~Copyable {
    let unitCount: Int
    /// A bit for each unit: it is taken.
    private var words: FixedTable<UInt64>
    /// No unit below is free.
    private var firstFree = 0
    private(set) var takenCount = 0

    init(unitCount: Int) {
        precondition(unitCount > 0)
        self.unitCount = unitCount
        words = FixedTable(count: (unitCount + 63) / 64, repeating: 0)
    }

    /// The first of `count` units; nil while so many are not free in a row.
    mutating func take(_ count: Int) -> Int? {
        precondition(count > 0 && count <= unitCount)
        var unit = firstFree
        var start = unit
        while unit < unitCount {
            if words[unit >> 6] == .max {
                unit = (unit | 63) &+ 1
                start = unit
                continue
            }
            let isTaken = words[unit >> 6] >> UInt64(unit & 63) & 1 == 1
            unit &+= 1
            if isTaken {
                start = unit
            } else if unit &- start == count {
                set(start, count, true)
                if start == firstFree { firstFree = unit }
                takenCount &+= count
                return start
            }
        }
        return nil
    }

    mutating func giveBack(_ start: Int, _ count: Int) {
        precondition(start >= 0 && count > 0 && start <= unitCount &- count)
        set(start, count, false)
        firstFree = min(firstFree, start)
        takenCount &-= count
    }

    private mutating func set(_ start: Int, _ count: Int, _ isTaken: Bool) {
        var unit = start
        while unit < start &+ count {
            let bit = UInt64(1) << UInt64(unit & 63)
            precondition((words[unit >> 6] & bit != 0) != isTaken, "given back twice")
            words[unit >> 6] ^= bit
            unit &+= 1
        }
    }
}
