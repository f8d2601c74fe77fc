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
    /// Ticks of the rest after which no look has been taken yet.
    private var rested: UInt64 = 0
    /// The times in which nothing was answered: what a host sees when its service is replaced.
    /// Nanoseconds, in the order they happened.
    private(set) var pauses: [UInt64] = []

    /// - Parameter shortest: nanoseconds that make a pause.
    init(from start: Ticks = .now(), shortestPause: UInt64 = .max) {
        last = start
        shortest = shortestPause
    }

    /// Requests have been answered, perhaps while the driver rested.
    mutating func answered(at now: Ticks) {
        let pause = Ticks.nanoseconds(from: now.since(last.advanced(by: rested)))
        if pause > shortest { pauses.append(pause) }
        last = now
        rested = 0
    }

    /// The driver sleeps a little, with `count` under way. They may be answered meanwhile: that is
    /// no pause, unless the next look finds nothing.
    mutating func rest(_ count: Int) {
        let start = Ticks.now()
        Clock.sleep(nanoseconds: AnswerWait.restNanoseconds)
        rested = Ticks.now().since(start)
        if count == 0 { (last, rested) = (.now(), 0) }
    }

    /// None has, and `count` are under way. Fails after 30 seconds.
    mutating func unanswered(_ count: Int, at now: Ticks) throws {
        rested = 0
        let silence = Ticks.nanoseconds(from: now.since(last))
        if silence < AnswerWait.haltNanoseconds { return }
        if silence > AnswerWait.limitNanoseconds {
            throw PerfError("no answer for 30 seconds with \(count) under way")
        }
        Thread.yield()
    }
}
