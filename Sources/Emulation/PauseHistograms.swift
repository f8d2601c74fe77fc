internal import Platform
internal import Synchronization

/// How a function came to its present controller while its driver ran.
public enum PauseKind: String, CaseIterable, Sendable {
    /// The last holder died.
    case recovery
    /// It was handed over to a listener.
    case handover
    /// The last holder gave it up in order, and this one took it afterwards.
    case reattach
}

/// One pause of a function as its driver sees it: from the last answer of one holder to the first
/// of the next.
final class PauseWatch: Sendable {
    private let start: Ticks
    private let isOver = Atomic<Bool>(false)
    /// Called once, with nanoseconds.
    private let report: @Sendable (UInt64) -> Void

    init(since start: Ticks, report: @escaping @Sendable (UInt64) -> Void) {
        self.start = start
        self.report = report
    }

    func end(at now: Ticks) {
        if isOver.exchange(true, ordering: .relaxed) { return }
        report(Ticks.nanoseconds(from: now.since(start)))
    }
}

/// The pauses of a service's functions, by function and kind; they outlive controllers.
public final class PauseHistograms: Sendable {
    /// Percentiles are of so many pauses, the latest.
    private static let sampleLimit = 1024
    /// Upper bounds of the buckets: 2^0 ... 2^26 microseconds; the last one takes the rest.
    private static let bucketCount = 28

    public struct Report: Sendable {
        public var vuid: String
        public var kind: PauseKind
        public var count: Int
        public var medianMicroseconds: UInt64
        public var p99Microseconds: UInt64
        public var maximumMicroseconds: UInt64
        public var lastMicroseconds: UInt64
        /// Buckets with pauses in them; a nil bound is that of the last one.
        public var buckets: [(upToMicroseconds: UInt64?, count: Int)]
    }

    private struct Key: Hashable {
        let vuid: String
        let kind: PauseKind
    }

    private struct Series {
        var count = 0
        var maximum: UInt64 = 0
        var samples: [UInt64] = []
        var buckets = Array(repeating: 0, count: PauseHistograms.bucketCount)
    }

    private let series = Mutex<[Key: Series]>([:])

    public init() {}

    func add(_ vuid: String, _ kind: PauseKind, microseconds: UInt64) {
        series.withLock { all in
            var one = all[Key(vuid: vuid, kind: kind)] ?? Series()
            one.count += 1
            one.maximum = max(one.maximum, microseconds)
            if one.samples.count == Self.sampleLimit { one.samples.removeFirst() }
            one.samples.append(microseconds)
            let exponent = microseconds <= 1 ? 0 : 64 - (microseconds - 1).leadingZeroBitCount
            one.buckets[min(exponent, Self.bucketCount - 1)] += 1
            all[Key(vuid: vuid, kind: kind)] = one
        }
    }

    /// In the order of functions and kinds.
    public var reports: [Report] {
        let all = series.withLock { $0 }
        return all.sorted {
            ($0.key.vuid, $0.key.kind.rawValue) < ($1.key.vuid, $1.key.kind.rawValue)
        }
        .map { key, one in
            let sorted = one.samples.sorted()
            func percentile(_ part: Int) -> UInt64 {
                sorted[min(sorted.count - 1, sorted.count * part / 100)]
            }
            return Report(
                vuid: key.vuid, kind: key.kind, count: one.count,
                medianMicroseconds: percentile(50), p99Microseconds: percentile(99),
                maximumMicroseconds: one.maximum, lastMicroseconds: one.samples.last ?? 0,
                buckets: one.buckets.enumerated().filter { $0.element > 0 }.map {
                    ($0.offset < Self.bucketCount - 1 ? 1 << UInt64($0.offset) : nil, $0.element)
                })
        }
    }
}
