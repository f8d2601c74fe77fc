internal import Synchronization

/// A row of counters that any thread may add to and read. Each is exact; together they are no
/// snapshot.
@safe
public final class CounterTable: @unchecked Sendable {
    // Sendable: every access is atomic.
    private let storage: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    public init(count: Int) {
        precondition(count > 0)
        unsafe storage = .allocate(capacity: count)
        for index in 0..<count { unsafe (storage + index).initialize(to: Atomic(0)) }
        self.count = count
    }

    deinit {
        unsafe storage.deinitialize(count: count)
        unsafe storage.deallocate()
    }

    public func add(_ amount: UInt64 = 1, at index: Int) {
        precondition(index >= 0 && index < count, "index past the end")
        unsafe storage[index].wrappingAdd(amount, ordering: .relaxed)
    }

    public subscript(index: Int) -> UInt64 {
        precondition(index >= 0 && index < count, "index past the end")
        return unsafe storage[index].load(ordering: .relaxed)
    }

    public func reset() {
        for index in 0..<count { unsafe storage[index].store(0, ordering: .relaxed) }
    }
}
