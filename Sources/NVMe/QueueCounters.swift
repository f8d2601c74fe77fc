internal import Synchronization

/// What one completion queue and its submission queues have done. Written by their reactor alone,
/// read by anybody.
public final class QueueCounters: Sendable {
    private let reads = Atomic<UInt64>(0)
    private let writes = Atomic<UInt64>(0)
    private let flushes = Atomic<UInt64>(0)
    private let others = Atomic<UInt64>(0)
    private let refusals = Atomic<UInt64>(0)
    private let errors = Atomic<UInt64>(0)
    private let received = Atomic<UInt64>(0)
    private let completed = Atomic<UInt64>(0)
    private let bytesRead = Atomic<UInt64>(0)
    private let bytesWritten = Atomic<UInt64>(0)

    public struct Reading: Equatable, Sendable {
        public var reads: UInt64 = 0
        public var writes: UInt64 = 0
        public var flushes: UInt64 = 0
        /// Write Zeroes, Compare, Dataset Management, Verify; on the admin queue all.
        public var others: UInt64 = 0
        /// Commands answered with an error that we found ourselves.
        public var refusals: UInt64 = 0
        /// Commands that their block device failed.
        public var errors: UInt64 = 0
        /// Commands taken off submission queues, and completions posted.
        public var received: UInt64 = 0
        public var completed: UInt64 = 0
        /// Bytes moved between host memory and the device without a staging copy.
        public var bytesRead: UInt64 = 0
        public var bytesWritten: UInt64 = 0
    }

    public init() {}

    public var reading: Reading {
        Reading(
            reads: reads.load(ordering: .relaxed), writes: writes.load(ordering: .relaxed),
            flushes: flushes.load(ordering: .relaxed), others: others.load(ordering: .relaxed),
            refusals: refusals.load(ordering: .relaxed),
            errors: errors.load(ordering: .relaxed), received: received.load(ordering: .relaxed),
            completed: completed.load(ordering: .relaxed),
            bytesRead: bytesRead.load(ordering: .relaxed),
            bytesWritten: bytesWritten.load(ordering: .relaxed))
    }

    /// Of `reading`, one load.
    public var completedCount: UInt64 { completed.load(ordering: .relaxed) }

    /// One turn's sums, stored at its end.
    func add(_ turn: Reading) {
        bump(reads, turn.reads)
        bump(writes, turn.writes)
        bump(flushes, turn.flushes)
        bump(others, turn.others)
        bump(refusals, turn.refusals)
        bump(errors, turn.errors)
        bump(received, turn.received)
        bump(completed, turn.completed)
        bump(bytesRead, turn.bytesRead)
        bump(bytesWritten, turn.bytesWritten)
    }

    /// One writer: a load and a store do, without a locked instruction.
    private func bump(_ counter: borrowing Atomic<UInt64>, _ count: UInt64) {
        if count == 0 { return }
        counter.store(counter.load(ordering: .relaxed) &+ count, ordering: .relaxed)
    }
}
