internal import Synchronization

/// Work for one thread, posted by any other and run with that thread's context. Lock-free; looking
/// into an empty one costs one load.
public final class Mailbox<Context>: Sendable {
    private final class Letter: @unchecked Sendable {
        // Sendable: written by the poster before it is published, read by the drainer after.
        let work: @Sendable (Context) -> Void
        /// The letter posted before this one, as retained bits; 0 for none.
        var older: UInt = 0
        init(_ work: @escaping @Sendable (Context) -> Void) { self.work = work }
    }

    private let newest = Atomic<UInt>(0)

    public init() {}

    deinit { take { _ in } }

    public var isEmpty: Bool { newest.load(ordering: .acquiring) == 0 }

    /// Puts `work` in.
    public func post(_ work: @escaping @Sendable (Context) -> Void) {
        let letter = Letter(work)
        let bits = unsafe UInt(bitPattern: Unmanaged.passRetained(letter).toOpaque())
        var expected = newest.load(ordering: .relaxed)
        while true {
            letter.older = expected
            // Pairs with the acquiring exchange in `take`.
            let (exchanged, original) = newest.compareExchange(
                expected: expected, desired: bits, successOrdering: .sequentiallyConsistent,
                failureOrdering: .relaxed)
            if exchanged { return }
            expected = original
        }
    }

    /// Takes everything out and runs it in the order of posting. One thread only.
    public func drain(_ context: Context) {
        take { work in work(context) }
    }

    private func take(_ run: (@Sendable (Context) -> Void) -> Void) {
        var letters: [Letter] = []
        var bits = newest.exchange(0, ordering: .acquiring)
        while let pointer = unsafe UnsafeRawPointer(bitPattern: bits) {
            let letter = unsafe Unmanaged<Letter>.fromOpaque(pointer).takeRetainedValue()
            letters.append(letter)
            bits = letter.older
        }
        for letter in letters.reversed() { run(letter.work) }
    }
}
