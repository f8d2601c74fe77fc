/// A list whose room is fixed when it is made.
@safe
public struct BoundedArray<Element: BitwiseCopyable>: ~Copyable {
    private let storage: UnsafeMutablePointer<Element>
    public let capacity: Int
    public private(set) var count = 0

    public init(capacity: Int) {
        precondition(capacity > 0, "a bounded array holds at least one element")
        unsafe storage = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { unsafe storage.deallocate() }

    public var isEmpty: Bool { count == 0 }
    public var isFull: Bool { count == capacity }
    public var room: Int { capacity &- count }

    /// Adds one element; the caller has made sure that there is room.
    public mutating func append(_ element: Element) {
        precondition(count < capacity, "bounded array is full")
        unsafe storage[count] = element
        count &+= 1
    }

    public mutating func removeAll() { count = 0 }

    public mutating func removeLast(_ dropped: Int = 1) {
        precondition(dropped >= 0 && dropped <= count)
        count &-= dropped
    }

    /// Drops the first `dropped` elements and moves the rest down.
    public mutating func removeFirst(_ dropped: Int) {
        precondition(dropped >= 0 && dropped <= count)
        if dropped == 0 { return }
        unsafe storage.update(from: storage + dropped, count: count &- dropped)
        count &-= dropped
    }

    public subscript(index: Int) -> Element {
        get {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: count), "index past the end")
            return unsafe storage[index]
        }
        _modify {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: count), "index past the end")
            yield unsafe &storage[index]
        }
    }
}
