internal import Bounded
internal import Synchronization

/// Counts latencies in ticks, laid out as SPDK's `spdk_histogram_data` with bucket shift 7.
///
/// The first range holds the values below 128, one bucket each; every further range covers the next
/// power of two in 128 equal steps.
public final class LatencyHistogram: Sendable {
    public static let bucketShift = 7
    public static let bucketCount = (64 - bucketShift + 1) << bucketShift

    private let counters = CounterTable(count: LatencyHistogram.bucketCount)

    init() {}

    /// The bucket that counts `ticks`.
    static func bucket(of ticks: UInt64) -> Int {
        let range = max(0, 64 - bucketShift - ticks.leadingZeroBitCount)
        let step = (ticks >> UInt64(max(0, range - 1))) & (1 << UInt64(bucketShift) - 1)
        return range << bucketShift | Int(step)
    }

    func count(_ ticks: UInt64) { counters.add(at: LatencyHistogram.bucket(of: ticks)) }
    func reset() { counters.reset() }

    public var buckets: [UInt64] { (0..<counters.count).map { counters[$0] } }
}

/// Whether a device measures latencies, and where to. The data plane asks it once per poll.
final class HistogramSwitch: Sendable {
    /// Bit n: operation n is measured.
    let operations = Atomic<UInt8>(0)
    private let made = AtomicLazyReference<LatencyHistogram>()

    var histogram: LatencyHistogram? { made.load() }

    func start(of operation: BlockOperation?) {
        made.storeIfNil(LatencyHistogram()).reset()
        operations.store(operation.map { 1 << $0.rawValue } ?? .max, ordering: .releasing)
    }

    func stop() { operations.store(0, ordering: .relaxed) }
}
