internal import Bounded

/// Completions of a backend that wait to be polled.
struct ReadyQueue: ~Copyable {
    private var queue: BoundedQueue<BlockCompletion>

    /// - Parameter depth: the channel's; there is never more than that outstanding.
    init(depth: Int) { queue = BoundedQueue(capacity: depth) }

    var isEmpty: Bool { queue.isEmpty }

    mutating func add(_ tag: UInt32, _ status: BlockStatus) {
        let fits = queue.push(BlockCompletion(tag: tag, status: status))
        precondition(fits, "more requests than the channel's depth")
    }

    mutating func move(into completions: inout CompletionBatch) {
        while !completions.isFull, let completion = queue.pop() { completions.append(completion) }
    }
}
