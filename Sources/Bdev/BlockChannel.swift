public import Bounded
public import Platform
internal import Synchronization

/// The way of one user on one reactor to a block device.
///
/// Checks every request, paces it, hands batches to the backend and counts what comes back. Used on
/// its reactor's thread only; release it there, with nothing outstanding.
public final class BlockChannel {
    /// The most requests outstanding at once.
    public let depth: Int
    /// Requests taken and not yet polled.
    public private(set) var outstanding = 0

    private let device: BlockDevice
    private let channel: any BackendChannel
    private let counters: ChannelCounters
    private let blockByteCount: UInt64
    /// Bit n: the device takes operation n.
    private let allowed: UInt8
    private let isReadOnly: Bool
    /// By tag: what the completion needs to know.
    private var pending: FixedTable<Pending>
    /// Ends of requests that the backend never saw.
    private var rejected: BoundedQueue<BlockCompletion>
    private var pace = Pace()

    private struct Pending: BitwiseCopyable {
        var start: Ticks
        var byteCount: UInt64
        var operation: BlockOperation
    }

    /// The state of a channel under rate limits.
    private struct Pace: BitwiseCopyable {
        /// Requests at the head of the user's queue that have been paid for.
        var paid = 0
        /// The last of them must wait until here.
        var due: Ticks?
        /// When to look again: the limits may have changed by then.
        var wakeTime = Ticks(0)
        var generation: UInt64 = 0
    }

    init(
        device: BlockDevice, channel: any BackendChannel, counters: ChannelCounters, depth: Int
    ) {
        self.device = device
        self.channel = channel
        self.counters = counters
        self.depth = depth
        blockByteCount = UInt64(device.blockByteCount)
        isReadOnly = device.backend.isReadOnly
        var allowed: UInt8 = 0
        for operation in BlockOperation.allCases where device.backend.supports(operation) {
            if isReadOnly && operation.changesData { continue }
            allowed |= 1 << operation.rawValue
        }
        self.allowed = allowed
        pending = FixedTable(
            count: depth,
            repeating: Pending(start: Ticks(0), byteCount: 0, operation: .flush))
        rejected = BoundedQueue(capacity: depth)
    }

    deinit {
        precondition(outstanding == 0, "block channel released with requests outstanding")
        // Pairs with the acquiring load in `BlockDevice.retireClosed`.
        counters.isClosed.store(true, ordering: .releasing)
    }

    // MARK: Submit

    /// Takes requests from `start` on, in order.
    ///
    /// - Returns: how many it took. The rest is offered again, at `wakeTime` at the latest or when
    ///   something has completed; a user that drops offered requests calls `abandonHeld`.
    public func submit(
        _ batch: borrowing RequestBatch, from start: Int, now: Ticks
    ) -> Int {
        submit(batch, start..<batch.count, now: now)
    }

    /// As above, for the requests at `range`.
    public func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        let start = range.lowerBound
        var end = start &+ min(range.count, depth &- outstanding)
        let isPaced = device.limiter.isActive.load(ordering: .relaxed)
        if isPaced {
            end = paced(batch, start..<end, now: now)
        } else if pace.due != nil {
            pace = Pace()
        }
        let blockCount = device.blockCount.load(ordering: .relaxed)
        var next = start
        while next < end {
            let run = next..<admit(batch, next..<end, blockCount: blockCount, now: now)
            if !run.isEmpty {
                let taken = channel.submit(batch, run, now: now)
                outstanding &+= taken
                next &+= taken
                if next < run.upperBound { break }
            }
            if next < end {
                reject(batch[next], blockCount: blockCount)
                next &+= 1
            }
        }
        if isPaced { pace.paid = max(0, pace.paid &- (next &- start)) }
        counters.outstanding.store(outstanding, ordering: .relaxed)
        return next &- start
    }

    /// Notes the requests at `range` as pending, up to the first that must not reach the backend.
    /// - Returns: that one's index.
    private func admit(
        _ batch: borrowing RequestBatch, _ range: Range<Int>, blockCount: UInt64, now: Ticks
    ) -> Int {
        var index = range.lowerBound
        while index < range.upperBound {
            let request = batch[index]
            let end = request.block &+ request.blockCount
            if end > blockCount || end < request.block { break }
            if allowed & (1 << request.operation.rawValue) == 0 { break }
            pending[Int(request.tag)] = Pending(
                start: now, byteCount: request.blockCount &* blockByteCount,
                operation: request.operation)
            index &+= 1
        }
        return index
    }

    private func reject(_ request: BlockRequest, blockCount: UInt64) {
        let status: BlockStatus
        if allowed & (1 << request.operation.rawValue) != 0 {
            status = .invalid
        } else {
            status = isReadOnly && request.operation.changesData ? .readOnly : .unsupported
        }
        let fits = rejected.push(BlockCompletion(tag: request.tag, status: status))
        precondition(fits, "more requests than the channel's depth")
        outstanding &+= 1
    }

    // MARK: Poll

    /// Appends finished requests while `completions` has room.
    public func poll(into completions: inout CompletionBatch, now: Ticks) {
        if outstanding == 0 { return }
        let first = completions.count
        channel.poll(into: &completions, now: now)
        if completions.count > first { account(completions, from: first, now: now) }
        while !completions.isFull, let completion = rejected.pop() {
            completions.append(completion)
            counters.countFailure(completion.status)
        }
        outstanding &-= completions.count &- first
        counters.outstanding.store(outstanding, ordering: .relaxed)
    }

    private func account(_ completions: borrowing CompletionBatch, from first: Int, now: Ticks) {
        counters.follow(extremesEpoch: device.extremesEpoch.load(ordering: .relaxed))
        for index in first..<completions.count {
            let completion = completions[index]
            if completion.status != .success {
                counters.countFailure(completion.status)
                continue
            }
            let request = pending[Int(completion.tag)]
            let latency = now.since(request.start)
            switch request.operation {
            case .read: counters.read.count(byteCount: request.byteCount, latency: latency)
            case .write: counters.write.count(byteCount: request.byteCount, latency: latency)
            case .unmap: counters.unmap.count(byteCount: request.byteCount, latency: latency)
            case .flush, .writeZeroes: break
            }
        }
        // Pairs with the releasing store in `HistogramSwitch.start`.
        let measured = device.histogram.operations.load(ordering: .acquiring)
        if measured != 0 { measure(completions, from: first, operations: measured, now: now) }
    }

    private func measure(
        _ completions: borrowing CompletionBatch, from first: Int, operations: UInt8, now: Ticks
    ) {
        guard let histogram = device.histogram.histogram else { return }
        for index in first..<completions.count where completions[index].status == .success {
            let request = pending[Int(completions[index].tag)]
            if operations & (1 << request.operation.rawValue) != 0 {
                histogram.count(now.since(request.start))
            }
        }
    }

    // MARK: Waiting

    /// Ends early what no device works on (`BackendChannel.abandonHeld`) and forgets the requests
    /// that were offered and not taken.
    public func abandonHeld() {
        pace = Pace()
        channel.abandonHeld()
    }

    /// When to submit or poll again without an event; a time in the past means at once.
    public var wakeTime: Ticks? {
        if !rejected.isEmpty { return Ticks(0) }
        let backendTime = channel.wakeTime
        if pace.due == nil { return backendTime }
        return min(pace.wakeTime, backendTime ?? pace.wakeTime)
    }

    /// The part of `range` that the rate limits let start now.
    /// - Returns: its end.
    private func paced(
        _ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks
    ) -> Int {
        let limiter = device.limiter
        let generation = limiter.generation.load(ordering: .relaxed)
        if pace.generation != generation {
            pace = Pace()
            pace.generation = generation
        }
        if let due = pace.due, now < due {
            pace.wakeTime = wakeTime(due: due, now: now)
            return range.lowerBound
        }
        pace.due = nil
        var index = range.lowerBound &+ min(pace.paid, range.count)
        var firstDue = Ticks(.max)
        for candidate in index..<range.upperBound {
            let request = batch[candidate]
            let due = limiter.charge(
                request.operation, byteCount: request.blockCount &* blockByteCount, now: now)
            pace.paid &+= 1
            if due <= now && pace.due == nil {
                index &+= 1
                continue
            }
            // One that has to wait brings the next ones along, half a slice of them at most: fewer
            // wake-ups, and channels that compete take turns.
            pace.due = due
            firstDue = min(firstDue, due)
            if due.since(firstDue) >= limiter.sliceTicks / 2 { break }
        }
        if let due = pace.due { pace.wakeTime = wakeTime(due: due, now: now) }
        return index
    }

    private func wakeTime(due: Ticks, now: Ticks) -> Ticks {
        min(due, now.advanced(by: device.limiter.sliceTicks &* 100))
    }
}
