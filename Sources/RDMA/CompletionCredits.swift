/// How many entries of a completion queue are promised to whom, so that it never overflows.
///
/// A queue pair takes an entry for each of its work requests when it is created. When it ends, what
/// it has under way may still lie in the queue: those entries come back once the queue has been
/// seen empty.
struct CompletionCredits {
    let capacity: Int
    private(set) var taken = 0
    /// Of those taken: entries of queue pairs that have ended.
    private(set) var abandoned = 0

    init(capacity: Int) { self.capacity = capacity }

    var free: Int { capacity - taken }

    mutating func take(_ count: Int) -> Bool {
        guard count <= free else { return false }
        taken += count
        return true
    }

    /// Ends a queue pair that took `count` and has `outstanding` of them under way.
    mutating func giveBack(_ count: Int, outstanding: Int) {
        precondition(outstanding <= count && count <= taken - abandoned)
        taken -= count - outstanding
        abandoned += outstanding
    }

    /// The queue had fewer entries than were asked for: nothing of an ended queue pair is in it.
    mutating func foundEmpty() {
        taken &-= abandoned
        abandoned = 0
    }
}
