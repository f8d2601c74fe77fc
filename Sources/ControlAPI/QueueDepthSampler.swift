internal import Bdev
internal import Synchronization

/// Looks at the queue depth of bdevs every now and then (bdev_set_qd_sampling_period).
final class QueueDepthSampler: Sendable {
    struct Samples {
        let periodMicroseconds: UInt64
        /// The depth at the last look.
        var queueDepth = 0
        /// Time with requests under way, and the same times the depth.
        var busyMicroseconds: UInt64 = 0
        var weightedMicroseconds: UInt64 = 0
    }

    /// Shorter periods are rounded up to this, so that a client cannot keep a core busy.
    static let shortestMicroseconds: UInt64 = 1000

    private struct Entry {
        var samples: Samples
        let task: Task<Void, Never>
    }

    private let entries = Mutex<[String: Entry]>([:])

    deinit { entries.withLock { for entry in $0.values { entry.task.cancel() } } }

    /// Starts afresh; a period of 0 ends it.
    func sample(_ device: BlockDevice, everyMicroseconds period: UInt64) {
        stop(device.name)
        if period == 0 { return }
        let period = min(max(period, QueueDepthSampler.shortestMicroseconds), UInt64(Int32.max))
        let task = Task { [weak self, weak device] in
            while (try? await Task.sleep(for: .microseconds(period))) != nil {
                guard let self, let device else { return }
                look(at: device)
            }
        }
        entries.withLock {
            $0[device.name] = Entry(samples: Samples(periodMicroseconds: period), task: task)
        }
    }

    func stop(_ name: String) { entries.withLock { $0.removeValue(forKey: name) }?.task.cancel() }

    /// Nil while the bdev is not sampled.
    func samples(of name: String) -> Samples? { entries.withLock { $0[name]?.samples } }

    private func look(at device: BlockDevice) {
        let depth = device.queueDepth
        entries.withLock { entries in
            guard var samples = entries[device.name]?.samples else { return }
            samples.queueDepth = depth
            if depth > 0 {
                samples.busyMicroseconds += samples.periodMicroseconds
                samples.weightedMicroseconds += samples.periodMicroseconds * UInt64(depth)
            }
            entries[device.name]?.samples = samples
        }
    }
}
