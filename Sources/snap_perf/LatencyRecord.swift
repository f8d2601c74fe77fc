internal import Histogram
internal import Platform

/// Latencies of a run. Short ones go to an array indexed by ticks: a store instead of a logarithm.
struct LatencyRecord {
    private static let shift: UInt64 = 4
    private static let limit = 1 << 16

    private var short = [UInt32](repeating: 0, count: LatencyRecord.limit)
    private var long = Histogram<UInt64>(
        highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .two)

    mutating func record(ticks: UInt64) {
        let index = Int(ticks >> Self.shift)
        if index < Self.limit {
            short[index] &+= 1
        } else {
            long.record(Ticks.nanoseconds(from: ticks))
        }
    }

    /// All of them, in nanoseconds.
    func histogram() -> Histogram<UInt64> {
        var all = long
        for (index, count) in short.enumerated() where count > 0 {
            all.record(
                Ticks.nanoseconds(from: UInt64(index) << Self.shift), count: UInt64(count))
        }
        return all
    }
}
