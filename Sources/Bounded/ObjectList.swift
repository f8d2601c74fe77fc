/// Objects in a row of fixed room, which keeps them alive and visits them without counting
/// references.
@safe
public struct ObjectList<Object: AnyObject>: ~Copyable {
    private let storage: UnsafeMutablePointer<Unmanaged<Object>>
    public let capacity: Int
    public private(set) var count = 0

    public init(capacity: Int) {
        precondition(capacity >= 0)
        unsafe storage = .allocate(capacity: max(1, capacity))
        self.capacity = capacity
    }

    deinit {
        for index in 0..<count { unsafe storage[index].release() }
        unsafe storage.deallocate()
    }

    /// - Returns: false when it is full.
    public mutating func append(_ object: Object) -> Bool {
        if count == capacity { return false }
        unsafe (storage + count).initialize(to: .passRetained(object))
        count &+= 1
        return true
    }

    /// Takes one out; the others keep their order.
    public mutating func remove(at index: Int) -> Object {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index past the end")
        let object = unsafe storage[index].takeRetainedValue()
        count &-= 1
        unsafe (storage + index).update(from: storage + index + 1, count: count &- index)
        return object
    }

    /// What `body` calls leaves the list as it is.
    public func visit<Result>(_ index: Int, _ body: (Object) -> Result) -> Result {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index past the end")
        return unsafe storage[index]._withUnsafeGuaranteedRef(body)
    }
}
