internal import Platform

/// How a driver waits for answers: it polls, and once nothing has come for as long as a guest's
/// processor polls before it halts, it lets others have its core between two looks.
struct AnswerWait {
    /// Linux's guest_halt_poll_ns.
    private static let haltNanoseconds: UInt64 = 200_000
    private static let limitNanoseconds: UInt64 = 30_000_000_000
    private static let restNanoseconds: UInt64 = 500_000

    private let shortest: UInt64
    private var last: Ticks
    /// The times in which nothing was answered: what a host sees when its service is replaced.
    /// Nanoseconds, in the order they happened.
    private(set) var pauses: [UInt64] = []

    /// - Parameter shortest: nanoseconds that make a pause.
    init(from start: Ticks = .now(), shortestPause: UInt64 = .max) {
        last = start
        shortest = shortestPause
    }

    /// Requests have been answered.
    mutating func answered(at now: Ticks) {
        let pause = Ticks.nanoseconds(from: now.since(last))
        if pause > shortest { pauses.append(pause) }
        last = now
    }

    /// The driver sleeps a little: time in which it looks for no answer is no pause.
    mutating func rest() {
        let start = Ticks.now()
        Clock.sleep(nanoseconds: AnswerWait.restNanoseconds)
        last = last.advanced(by: Ticks.now().since(start))
    }

    /// None has, and `count` are under way. Fails after 30 seconds.
    func unanswered(_ count: Int, at now: Ticks) throws {
        let silence = Ticks.nanoseconds(from: now.since(last))
        if silence < AnswerWait.haltNanoseconds { return }
        if silence > AnswerWait.limitNanoseconds {
            throw PerfError("no answer for 30 seconds with \(count) under way")
        }
        Thread.yield()
    }
}
