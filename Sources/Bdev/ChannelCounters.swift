internal import Platform
internal import Synchronization

/// The counters of one channel: written by its reactor alone, read by the control plane.
final class ChannelCounters: Sendable {
    /// Kernel id of the reactor's thread.
    let threadID = Thread.currentID
    let read = OperationCounters()
    let write = OperationCounters()
    let unmap = OperationCounters()
    private let failedCount = Atomic<UInt64>(0)
    private let abortedCount = Atomic<UInt64>(0)
    /// Requests under way, as of the last submit or poll.
    let outstanding = Atomic<Int>(0)
    /// Counts the resets of minima and maxima that the writer has followed.
    let extremesEpoch: Atomic<UInt64>
    /// The channel is gone; the counters do not change any more.
    let isClosed = Atomic<Bool>(false)

    init(extremesEpoch: UInt64) { self.extremesEpoch = Atomic(extremesEpoch) }

    func countFailure(_ status: BlockStatus) {
        if status == .aborted { abortedCount.increase(by: 1) } else { failedCount.increase(by: 1) }
    }

    /// Starts minima and maxima afresh when the device's epoch has moved on.
    func follow(extremesEpoch epoch: UInt64) {
        if extremesEpoch.load(ordering: .relaxed) == epoch { return }
        read.forgetExtremes()
        write.forgetExtremes()
        unmap.forgetExtremes()
        // Pairs with the acquiring load in `snapshot`: who sees the epoch sees the fresh start.
        extremesEpoch.store(epoch, ordering: .releasing)
    }

    /// The values now; minima and maxima only when they belong to `epoch`.
    func snapshot(extremesEpoch epoch: UInt64) -> IOStatistics {
        let keepsExtremes = extremesEpoch.load(ordering: .acquiring) == epoch
        var statistics = IOStatistics()
        statistics.read = read.snapshot(keepsExtremes)
        statistics.write = write.snapshot(keepsExtremes)
        statistics.unmap = unmap.snapshot(keepsExtremes)
        statistics.failedCount = failedCount.load(ordering: .relaxed)
        statistics.abortedCount = abortedCount.load(ordering: .relaxed)
        return statistics
    }
}

/// Counts and latencies of one operation on one channel.
struct OperationCounters: ~Copyable, Sendable {
    private let byteCount = Atomic<UInt64>(0)
    private let requestCount = Atomic<UInt64>(0)
    private let latency = Atomic<UInt64>(0)
    private let longest = Atomic<UInt64>(0)
    private let shortest = Atomic<UInt64>(.max)

    func count(byteCount bytes: UInt64, latency ticks: UInt64) {
        byteCount.increase(by: bytes)
        requestCount.increase(by: 1)
        latency.increase(by: ticks)
        if ticks > longest.load(ordering: .relaxed) { longest.store(ticks, ordering: .relaxed) }
        if ticks < shortest.load(ordering: .relaxed) { shortest.store(ticks, ordering: .relaxed) }
    }

    func forgetExtremes() {
        longest.store(0, ordering: .relaxed)
        shortest.store(.max, ordering: .relaxed)
    }

    func snapshot(_ keepsExtremes: Bool) -> IOStatistics.Operation {
        var operation = IOStatistics.Operation()
        operation.byteCount = byteCount.load(ordering: .relaxed)
        operation.requestCount = requestCount.load(ordering: .relaxed)
        operation.latencyTicks = latency.load(ordering: .relaxed)
        if keepsExtremes {
            operation.maximumLatencyTicks = longest.load(ordering: .relaxed)
            let shortest = shortest.load(ordering: .relaxed)
            operation.minimumLatencyTicks = shortest == .max ? 0 : shortest
        }
        return operation
    }
}

extension Atomic where Value == UInt64 {
    /// Adds without a locked instruction: this thread is the only writer.
    func increase(by amount: UInt64) {
        store(load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }
}
