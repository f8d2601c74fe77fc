/// What regular samples of a device's queue depth add up to (`bdev_set_qd_sampling_period`).
public struct QueueDepthFigures: Equatable, Sendable {
    /// Microseconds between two samples.
    public let periodMicroseconds: UInt64
    /// Requests under way at the last sample.
    public private(set) var queueDepth: UInt64 = 0
    /// Microseconds in which the device was busy.
    public private(set) var busyMicroseconds: UInt64 = 0
    /// The same, each period times its queue depth.
    public private(set) var weightedMicroseconds: UInt64 = 0

    init(periodMicroseconds: UInt64) { self.periodMicroseconds = periodMicroseconds }

    mutating func add(queueDepth depth: UInt64) {
        queueDepth = depth
        if depth == 0 { return }
        busyMicroseconds &+= periodMicroseconds
        weightedMicroseconds &+= periodMicroseconds &* depth
    }
}
