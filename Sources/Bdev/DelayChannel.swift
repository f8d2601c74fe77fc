internal import Bounded
internal import Platform

/// One channel of a delay disk: four queues of ended requests, each in order of time.
final class DelayChannel: BackendChannel {
    private let backend: DelayBackend
    private let base: BlockChannel
    private var fromBase: CompletionBatch
    private var ready: ReadyQueue
    private var reads: HoldQueue
    private var slowReads: HoldQueue
    private var writes: HoldQueue
    private var slowWrites: HoldQueue
    /// By tag.
    private var pending: FixedTable<Pending>
    private var lottery: UInt64 = 0x2545_F491_4F6C_DD1D

    private struct Pending: BitwiseCopyable {
        var start: Ticks
        var operation: BlockOperation
    }

    init(_ backend: DelayBackend, _ base: BlockChannel) {
        self.backend = backend
        self.base = base
        let depth = base.depth
        fromBase = CompletionBatch(capacity: depth)
        ready = ReadyQueue(depth: depth)
        reads = HoldQueue(depth: depth)
        slowReads = HoldQueue(depth: depth)
        writes = HoldQueue(depth: depth)
        slowWrites = HoldQueue(depth: depth)
        pending = FixedTable(
            count: depth, repeating: Pending(start: Ticks(0), operation: .flush))
    }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        for index in range {
            let request = batch[index]
            pending[Int(request.tag)] = Pending(start: now, operation: request.operation)
        }
        return base.submit(batch, range, now: now)
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        fromBase.removeAll()
        base.poll(into: &fromBase, now: now)
        for index in 0..<fromBase.count { hold(fromBase[index]) }
        reads.release(into: &ready, now: now)
        slowReads.release(into: &ready, now: now)
        writes.release(into: &ready, now: now)
        slowWrites.release(into: &ready, now: now)
        ready.move(into: &completions)
    }

    /// Queues an ended request until its latency, counted from its start, has passed.
    private func hold(_ completion: BlockCompletion) {
        let request = pending[Int(completion.tag)]
        switch request.operation {
        case .read:
            if isSlow() {
                slowReads.add(completion, request.start.advanced(by: backend.slowReadTicks))
            } else {
                reads.add(completion, request.start.advanced(by: backend.averageReadTicks))
            }
        case .write:
            if isSlow() {
                slowWrites.add(completion, request.start.advanced(by: backend.slowWriteTicks))
            } else {
                writes.add(completion, request.start.advanced(by: backend.averageWriteTicks))
            }
        case .flush, .unmap, .writeZeroes:
            ready.add(completion.tag, completion.status)
        }
    }

    /// True once in a hundred times (xorshift64).
    private func isSlow() -> Bool {
        lottery ^= lottery << 13
        lottery ^= lottery >> 7
        lottery ^= lottery << 17
        return lottery % 100 == 0
    }

    func abandonHeld() {
        base.abandonHeld()
        let end = Ticks(.max)
        reads.release(into: &ready, now: end)
        slowReads.release(into: &ready, now: end)
        writes.release(into: &ready, now: end)
        slowWrites.release(into: &ready, now: end)
    }

    var wakeTime: Ticks? {
        if !ready.isEmpty { return Ticks(0) }
        var time = base.wakeTime ?? Ticks(.max)
        time = min(time, reads.nextDue, slowReads.nextDue)
        time = min(time, writes.nextDue, slowWrites.nextDue)
        return time == Ticks(.max) ? nil : time
    }
}

/// Ended requests that wait for their time, first in, first out.
private struct HoldQueue: ~Copyable {
    private struct Held: BitwiseCopyable {
        let completion: BlockCompletion
        let due: Ticks
    }

    private var queue: BoundedQueue<Held>

    init(depth: Int) { queue = BoundedQueue(capacity: depth) }

    /// When the first one ends; the end of time when there is none.
    var nextDue: Ticks { queue.first?.due ?? Ticks(.max) }

    mutating func add(_ completion: BlockCompletion, _ due: Ticks) {
        let fits = queue.push(Held(completion: completion, due: due))
        precondition(fits, "more requests than the channel's depth")
    }

    mutating func release(into ready: inout ReadyQueue, now: Ticks) {
        while let held = queue.first, held.due <= now {
            ready.add(held.completion.tag, held.completion.status)
            _ = queue.pop()
        }
    }
}
