internal import Platform

/// The times in which no request was answered: what a host sees when its service is replaced.
struct PauseRecord {
    private let shortest: UInt64
    private var last: Ticks
    /// Nanoseconds, in the order they happened.
    private(set) var pauses: [UInt64] = []

    /// - Parameter shortest: nanoseconds that make a pause.
    init(from start: Ticks, shortest: UInt64) {
        last = start
        self.shortest = Ticks.from(nanoseconds: shortest)
    }

    /// Requests have been answered.
    mutating func answered(at now: Ticks) {
        let pause = now.since(last)
        if pause > shortest { pauses.append(Ticks.nanoseconds(from: pause)) }
        last = now
    }

    /// Nanoseconds without an answer.
    func silence(at now: Ticks) -> UInt64 { Ticks.nanoseconds(from: now.since(last)) }
}
