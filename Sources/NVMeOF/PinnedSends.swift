internal import Bounded

/// Sends whose memory the kernel reads until it says that it does not any more (MSG_ZEROCOPY), by
/// the number that it gives them: the first is 0, and each next one is one more, modulo 2^32.
struct PinnedSends: ~Copyable {
    /// Sends under way at most.
    static let limit = 256
    private static let none = UInt16.max

    /// By number modulo the limit: the command whose data it is; none when that has ended.
    private var slots = FixedTable<UInt16>(count: limit, repeating: none)
    private var next: UInt32 = 0
    /// The oldest that has not ended.
    private var oldest: UInt32 = 0

    var isEmpty: Bool { next == oldest }
    var isFull: Bool { next &- oldest == UInt32(PinnedSends.limit) }

    /// The kernel has taken another one, of the command in `slot`.
    mutating func add(_ slot: UInt16) {
        precondition(!isFull)
        slots[index(next)] = slot
        next &+= 1
    }

    /// The kernel has no use for the memory of send `number`.
    /// - Returns: its command; nil: no such send is under way.
    mutating func end(_ number: UInt32) -> UInt16? {
        guard number &- oldest < next &- oldest else { return nil }
        let slot = slots[index(number)]
        if slot == PinnedSends.none { return nil }
        slots[index(number)] = PinnedSends.none
        while oldest != next && slots[index(oldest)] == PinnedSends.none { oldest &+= 1 }
        return slot
    }

    private func index(_ number: UInt32) -> Int { Int(number) % PinnedSends.limit }
}
