internal import Hardware
internal import Platform

/// When a queue that found nothing looks again.
///
/// Stores to trapped doorbells arrive as kicks. Mapped ones make no event, so an idle queue looks
/// at them in growing intervals: up to 8 ms of latency after a pause, and less than 1 percent of a
/// core. The times are multiples of the interval: all idle queues of a reactor look at once.
struct DoorbellWatch {
    private static let shortest = Ticks.from(nanoseconds: 62_500)
    private static let longest = Ticks.from(nanoseconds: 8_000_000)

    private let isMapped: Bool
    private var interval = DoorbellWatch.shortest
    /// Nil while the queue is polled anyway, and always when doorbells are trapped.
    private(set) var wakeTime: Ticks?
    /// Whether the last rest was ended by the time.
    private(set) var isLooking = false

    init(_ mode: DoorbellMode) { isMapped = mode == .mapped }

    /// The queue is left alone.
    mutating func rest() {
        guard isMapped else { return }
        let next = Ticks.now().count / interval &* interval &+ interval
        wakeTime = Ticks(next)
        interval = min(2 &* interval, DoorbellWatch.longest)
    }

    /// It is polled again.
    mutating func wake() {
        isLooking = wakeTime != nil
        wakeTime = nil
    }

    /// It found something to do.
    mutating func foundWork() {
        interval = DoorbellWatch.shortest
        isLooking = false
    }
}
