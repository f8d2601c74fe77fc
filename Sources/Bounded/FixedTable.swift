/// A row of cells that are all there from the start.
@safe
public struct FixedTable<Element: BitwiseCopyable>: ~Copyable {
    private let storage: UnsafeMutablePointer<Element>
    public let count: Int

    public init(count: Int, repeating value: Element) {
        precondition(count >= 0)
        unsafe storage = .allocate(capacity: max(1, count))
        unsafe storage.initialize(repeating: value, count: count)
        self.count = count
    }

    deinit { unsafe storage.deallocate() }

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
