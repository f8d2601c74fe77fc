/// How many ticks of one clock a second of another has.
///
/// A thread may lose its processor between two readings, for longer than the measurement takes. So
/// a moment is the closest of several pairs of readings, and the time between two moments may be
/// any.
enum TickRate {
    private static let pairCount = 32
    private static let nanoseconds: UInt64 = 20_000_000

    /// Ticks in a second, in steps of 10 kHz: the error of the readings is larger than that.
    static func measure(ticks: () -> UInt64, nanoseconds: () -> UInt64) -> UInt64 {
        let start = moment(ticks, nanoseconds)
        while nanoseconds() - start.nanoseconds < TickRate.nanoseconds {}
        let end = moment(ticks, nanoseconds)
        let passed = (end.ticks - start.ticks).multipliedFullWidth(by: 1_000_000_000)
        let rate = (end.nanoseconds - start.nanoseconds).dividingFullWidth(passed).quotient
        return max(1, (rate + 5_000) / 10_000) * 10_000
    }

    /// What both clocks say at one time.
    private static func moment(
        _ ticks: () -> UInt64, _ nanoseconds: () -> UInt64
    ) -> (ticks: UInt64, nanoseconds: UInt64) {
        var best: (ticks: UInt64, nanoseconds: UInt64) = (0, 0)
        var least = UInt64.max
        for _ in 0..<pairCount {
            let before = ticks()
            let time = nanoseconds()
            let width = ticks() - before
            if width < least {
                least = width
                best = (before + width / 2, time)
            }
        }
        return best
    }
}
