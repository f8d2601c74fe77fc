internal import Platform
internal import Synchronization

/// Where a reactor raises interrupts, so that a watchdog can free it from an eventfd that blocks.
///
/// A peer may give us a blocking eventfd and fill its counter; the write then sleeps in the kernel.
/// The watchdog empties such an eventfd and marks the write, and the reactor fails that function.
public final class SignalGate: Sendable {
    private static let nobody = UInt64.max

    /// Number of the write under way in the upper half, its descriptor in the lower; or nobody.
    private let current = Atomic<UInt64>(SignalGate.nobody)
    private let freed = Atomic<UInt64>(SignalGate.nobody)
    private let writes = Atomic<UInt64>(0)

    init() {}

    /// Adds one to the eventfd `descriptor`. The reactor's thread only.
    /// - Returns: false when the write had to be freed by the watchdog.
    public func raise(_ descriptor: Int32) -> Bool {
        let count = writes.load(ordering: .relaxed) &+ 1
        writes.store(count, ordering: .relaxed)
        let mark = (count << 32) | UInt64(UInt32(bitPattern: descriptor))
        current.store(mark, ordering: .releasing)
        EventDescriptor.signal(descriptor)
        current.store(SignalGate.nobody, ordering: .releasing)
        return freed.load(ordering: .relaxed) != mark
    }

    /// The write that is under way, if any. For the watchdog.
    var writeUnderWay: UInt64? {
        let mark = current.load(ordering: .acquiring)
        return mark == SignalGate.nobody ? nil : mark
    }

    /// Frees the write `mark` when its eventfd is full. For the watchdog.
    func free(_ mark: UInt64) {
        let descriptor = Int32(truncatingIfNeeded: mark & 0xFFFF_FFFF)
        // Not full: the thread was only preempted inside the call.
        if EventDescriptor.hasRoom(descriptor) { return }
        freed.store(mark, ordering: .releasing)
        EventDescriptor.drain(descriptor)
    }
}
