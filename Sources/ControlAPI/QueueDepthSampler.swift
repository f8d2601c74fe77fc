internal import Bdev
internal import Synchronization

/// Keeps the rhythm in which queue depths are sampled (bdev_set_qd_sampling_period).
final class QueueDepthSampler: Sendable {
    /// Shorter periods are rounded up to this, so that a client cannot keep a core busy.
    static let shortestMicroseconds: UInt64 = 1000

    private let tasks = Mutex<[String: Task<Void, Never>]>([:])

    deinit { tasks.withLock { for task in $0.values { task.cancel() } } }

    /// Starts afresh; a period of 0 ends it.
    func sample(_ device: BlockDevice, everyMicroseconds period: UInt64) {
        stop(device.name)
        let shortest = QueueDepthSampler.shortestMicroseconds
        let period = period == 0 ? 0 : min(max(period, shortest), UInt64(Int32.max))
        device.setQueueDepthPeriod(microseconds: period)
        if period == 0 { return }
        let task = Task { [weak device] in
            while (try? await Task.sleep(for: .microseconds(period))) != nil {
                guard let device else { return }
                device.sampleQueueDepth()
            }
        }
        tasks.withLock { $0[device.name] = task }
    }

    func stop(_ name: String) { tasks.withLock { $0.removeValue(forKey: name) }?.cancel() }
}
