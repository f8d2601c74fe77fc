internal import Synchronization

/// A value that arrives once, from any thread; the first arrival counts.
final class OneShot<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case awaited(CheckedContinuation<Value, Never>)
        case arrived(Value)
    }

    private let state = Mutex(State.empty)

    func arrive(_ value: Value) {
        let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
            switch state {
            case .empty:
                state = .arrived(value)
                return nil
            case .awaited(let continuation):
                state = .arrived(value)
                return continuation
            case .arrived: return nil
            }
        }
        waiting?.resume(returning: value)
    }

    /// Waits for the value. One waiter.
    func value() async -> Value {
        await withCheckedContinuation { continuation in
            let value: Value? = state.withLock { state in
                if case .arrived(let value) = state { return value }
                state = .awaited(continuation)
                return nil
            }
            if let value { continuation.resume(returning: value) }
        }
    }
}
