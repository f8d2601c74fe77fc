internal import Synchronization

/// A bounded queue from one thread to one other, without a lock.
@safe
public final class HandoffQueue<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    // Sendable: only the giver writes `tail` and the cells from head + capacity up to it, only the
    // taker writes `head`; each publishes with a releasing store.
    private let storage: UnsafeMutablePointer<Element>
    private let capacity: Int
    private let head = Atomic<Int>(0)
    private let tail = Atomic<Int>(0)

    public init(capacity: Int) {
        precondition(capacity > 0)
        unsafe storage = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { unsafe storage.deallocate() }

    /// Called by the giver. False when the queue is full.
    public func give(_ element: Element) -> Bool {
        let end = tail.load(ordering: .relaxed)
        // Pairs with the releasing store in `take`: the cell has been read.
        if end &- head.load(ordering: .acquiring) == capacity { return false }
        unsafe storage[end % capacity] = element
        tail.store(end &+ 1, ordering: .releasing)
        return true
    }

    /// Called by the taker. Nil when the queue is empty.
    public func take() -> Element? {
        let start = head.load(ordering: .relaxed)
        // Pairs with the releasing store in `give`: the cell has been written.
        if start == tail.load(ordering: .acquiring) { return nil }
        let element = unsafe storage[start % capacity]
        head.store(start &+ 1, ordering: .releasing)
        return element
    }
}
