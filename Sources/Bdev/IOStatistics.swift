/// What a device, or one channel of it, has done since its counters were reset.
public struct IOStatistics: Equatable, Sendable {
    /// Successful requests of one operation.
    public struct Operation: Equatable, Sendable {
        public var byteCount: UInt64 = 0
        public var requestCount: UInt64 = 0
        public var latencyTicks: UInt64 = 0
        public var maximumLatencyTicks: UInt64 = 0
        /// 0 when nothing was measured.
        public var minimumLatencyTicks: UInt64 = 0

        public init() {}
    }

    public var read = Operation()
    public var write = Operation()
    public var unmap = Operation()
    /// Requests that ended with an error, by `BlockStatus`.
    public var failedCount: UInt64 = 0
    public var abortedCount: UInt64 = 0

    public init() {}

    /// What a reset forgets (SPDK's `reset_mode`).
    public enum Reset: Sendable {
        case all
        case extremes
        case errors
        case nothing
    }

    static func += (total: inout IOStatistics, part: IOStatistics) {
        total.read += part.read
        total.write += part.write
        total.unmap += part.unmap
        total.failedCount &+= part.failedCount
        total.abortedCount &+= part.abortedCount
    }

    /// The sums without those of `baseline`; extremes stay.
    func since(_ baseline: IOStatistics) -> IOStatistics {
        var rest = self
        rest.read = read.since(baseline.read)
        rest.write = write.since(baseline.write)
        rest.unmap = unmap.since(baseline.unmap)
        rest.failedCount &-= baseline.failedCount
        rest.abortedCount &-= baseline.abortedCount
        return rest
    }

    mutating func forgetExtremes() {
        read.forgetExtremes()
        write.forgetExtremes()
        unmap.forgetExtremes()
    }

    mutating func takeErrors(of other: IOStatistics) {
        failedCount = other.failedCount
        abortedCount = other.abortedCount
    }
}

extension IOStatistics.Operation {
    static func += (total: inout Self, part: Self) {
        total.byteCount &+= part.byteCount
        total.requestCount &+= part.requestCount
        total.latencyTicks &+= part.latencyTicks
        total.maximumLatencyTicks = max(total.maximumLatencyTicks, part.maximumLatencyTicks)
        if total.minimumLatencyTicks == 0 {
            total.minimumLatencyTicks = part.minimumLatencyTicks
        } else if part.minimumLatencyTicks != 0 {
            total.minimumLatencyTicks = min(total.minimumLatencyTicks, part.minimumLatencyTicks)
        }
    }

    func since(_ baseline: Self) -> Self {
        var rest = self
        rest.byteCount &-= baseline.byteCount
        rest.requestCount &-= baseline.requestCount
        rest.latencyTicks &-= baseline.latencyTicks
        return rest
    }

    mutating func forgetExtremes() {
        maximumLatencyTicks = 0
        minimumLatencyTicks = 0
    }
}
