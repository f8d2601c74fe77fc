/// Lets one operation at a time into an actor that awaits in the middle. Part of that actor's
/// state.
struct Turnstile {
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Nil when the way is free: it is taken now.
    mutating func take() -> Bool {
        if isBusy { return false }
        isBusy = true
        return true
    }

    mutating func queue(_ continuation: CheckedContinuation<Void, Never>) {
        waiting.append(continuation)
    }

    mutating func leave() {
        if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
    }
}

/// An actor whose operations take turns.
protocol Turnstiled: Actor {
    var turnstile: Turnstile { get set }
}

extension Turnstiled {
    /// Waits for its turn; `turnstile.leave()` ends it.
    func enterTurnstile() async {
        if turnstile.take() { return }
        await withCheckedContinuation { turnstile.queue($0) }
    }
}
