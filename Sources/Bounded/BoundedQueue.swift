/// A first-in, first-out queue whose room is fixed when it is made.
@safe
public struct BoundedQueue<Element: BitwiseCopyable>: ~Copyable {
    private let storage: UnsafeMutablePointer<Element>
    public let capacity: Int
    private var head = 0
    public private(set) var count = 0

    public init(capacity: Int) {
        precondition(capacity > 0, "a bounded queue holds at least one element")
        unsafe storage = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { unsafe storage.deallocate() }

    public var isEmpty: Bool { count == 0 }
    public var isFull: Bool { count == capacity }

    /// Adds one element at the back. False when the queue is full.
    public mutating func push(_ element: Element) -> Bool {
        if count == capacity { return false }
        var tail = head &+ count
        if tail >= capacity { tail &-= capacity }
        unsafe storage[tail] = element
        count &+= 1
        return true
    }

    public var first: Element? {
        if count == 0 { return nil }
        return unsafe storage[head]
    }

    /// Puts `element` in the place of the first one.
    public mutating func replaceFirst(_ element: Element) {
        precondition(count > 0, "the queue is empty")
        unsafe storage[head] = element
    }

    public mutating func pop() -> Element? {
        if count == 0 { return nil }
        let element = unsafe storage[head]
        head &+= 1
        if head == capacity { head = 0 }
        count &-= 1
        return element
    }
}
