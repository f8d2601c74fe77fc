internal import Synchronization

/// Waits for several things at once.
final class Countdown: Sendable {
    private let left: Atomic<Int>
    private let end = OneShot<Bool>()

    init(_ count: Int) {
        left = Atomic(count)
        if count == 0 { end.arrive(true) }
    }

    /// One of them is done; from any thread.
    func finish() {
        if left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { end.arrive(true) }
    }

    /// Waits for all of them. One waiter.
    /// - Returns: false when `limit` passes first.
    func wait(within limit: Duration?) async -> Bool {
        let timer = limit.map { [end] limit in
            Task {
                try? await Task.sleep(for: limit)
                end.arrive(false)
            }
        }
        defer { timer?.cancel() }
        return await end.value()
    }
}
