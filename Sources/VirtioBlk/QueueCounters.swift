internal import Synchronization

/// What one queue has done. Written by its reactor alone, read by anybody.
public final class QueueCounters: Sendable {
    private let reads = Atomic<UInt64>(0)
    private let writes = Atomic<UInt64>(0)
    private let flushes = Atomic<UInt64>(0)
    private let others = Atomic<UInt64>(0)
    private let refusals = Atomic<UInt64>(0)
    private let received = Atomic<UInt64>(0)
    private let completed = Atomic<UInt64>(0)
    private let bytesMoved = Atomic<UInt64>(0)

    public struct Reading: Equatable, Sendable {
        public var reads: UInt64 = 0
        public var writes: UInt64 = 0
        public var flushes: UInt64 = 0
        /// Discard, write zeroes, get-id.
        public var others: UInt64 = 0
        /// Requests answered with an error that we found ourselves.
        public var refusals: UInt64 = 0
        /// Chains taken off the ring and returned to it.
        public var received: UInt64 = 0
        public var completed: UInt64 = 0
        /// Bytes of reads and writes, between host memory and the device.
        public var bytesMoved: UInt64 = 0
    }

    public init() {}

    public var reading: Reading {
        Reading(
            reads: reads.load(ordering: .relaxed), writes: writes.load(ordering: .relaxed),
            flushes: flushes.load(ordering: .relaxed), others: others.load(ordering: .relaxed),
            refusals: refusals.load(ordering: .relaxed),
            received: received.load(ordering: .relaxed),
            completed: completed.load(ordering: .relaxed),
            bytesMoved: bytesMoved.load(ordering: .relaxed))
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
        bump(received, turn.received)
        bump(completed, turn.completed)
        bump(bytesMoved, turn.bytesMoved)
    }

    /// One writer: a load and a store do, without a locked instruction.
    private func bump(_ counter: borrowing Atomic<UInt64>, _ count: UInt64) {
        if count == 0 { return }
        counter.store(counter.load(ordering: .relaxed) &+ count, ordering: .relaxed)
    }
}
