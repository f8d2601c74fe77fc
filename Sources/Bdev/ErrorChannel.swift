internal import Bounded
internal import Memory
internal import Platform
internal import Synchronization

/// One channel of an error disk.
final class ErrorChannel: BackendChannel {
    private let backend: ErrorBackend
    private let base: BlockChannel
    private var ready: ReadyQueue
    private var pending: BoundedQueue<UInt32>
    private var clearEpoch: UInt64
    /// After a "no memory": takes nothing until here.
    private var retryTime: Ticks?
    /// While requests are pending: when to look for the end of their injection.
    private var checkTime = Ticks(0)
    /// By tag: what to do to the data of a read that has ended.
    private var corruptions: FixedTable<Corruption>
    private var corruptReadCount = 0
    private var spliced: SplicedWrite

    private struct Corruption: BitwiseCopyable {
        var segments: SegmentList
        var offset: Int
        /// 0: none.
        var value: UInt8
    }

    private static let retryTicks = Ticks.from(nanoseconds: 1_000_000)
    private static let checkTicks = Ticks.from(nanoseconds: 10_000_000)

    init(_ backend: ErrorBackend, _ base: BlockChannel) throws(SystemError) {
        self.backend = backend
        self.base = base
        let depth = base.depth
        ready = ReadyQueue(depth: depth)
        pending = BoundedQueue(capacity: depth)
        clearEpoch = backend.clearEpoch.load(ordering: .relaxed)
        spliced = try SplicedWrite()
        corruptions = FixedTable(
            count: depth,
            repeating: Corruption(segments: .empty, offset: 0, value: 0))
    }

    // MARK: Submit

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        if let time = retryTime, now < time { return 0 }
        retryTime = nil
        var next = range.lowerBound
        while next < range.upperBound {
            let run = next..<cleanEnd(batch, next..<range.upperBound)
            if !run.isEmpty {
                next &+= base.submit(batch, run, now: now)
                if next < run.upperBound { break }
            } else {
                if !submitSpoilt(batch[next], now: now) { break }
                next &+= 1
            }
        }
        return next &- range.lowerBound
    }

    /// Where in `range` the first request stands that a fault waits for.
    private func cleanEnd(_ batch: borrowing RequestBatch, _ range: Range<Int>) -> Int {
        var outstanding = base.outstanding &+ pending.count
        for index in range {
            if backend.hits(batch[index].operation, outstanding: outstanding) { return index }
            outstanding &+= 1
        }
        return range.upperBound
    }

    /// False: the request was not taken.
    private func submitSpoilt(_ request: BlockRequest, now: Ticks) -> Bool {
        if request.operation == .write && spliced.isBusy { return false }
        let outstanding = base.outstanding &+ pending.count
        switch backend.draw(request.operation, outstanding: outstanding) {
        case nil: return spliced.submitAlone(request, to: base, now: now)
        case .failure?: ready.add(request.tag, .failed)
        case .pending?:
            _ = pending.push(request.tag)
            checkTime = now.advanced(by: ErrorChannel.checkTicks)
        case .noMemory?:
            retryTime = now.advanced(by: ErrorChannel.retryTicks)
            return false
        case .corruptData(let offset, let value)?:
            return submitCorrupt(request, Int(clamping: offset), value, now: now)
        }
        return true
    }

    private func submitCorrupt(
        _ request: BlockRequest, _ offset: Int, _ value: UInt8, now: Ticks
    ) -> Bool {
        switch request.operation {
        case .read where offset < request.segments.byteCount:
            if !spliced.submitAlone(request, to: base, now: now) { return false }
            corruptions[Int(request.tag)] = Corruption(
                segments: request.segments, offset: offset, value: value)
            corruptReadCount &+= 1
            return true
        case .write where offset < request.segments.byteCount:
            return spliced.submit(request, spoiling: offset, with: value, to: base, now: now)
        default:
            return spliced.submitAlone(request, to: base, now: now)
        }
    }

    // MARK: Poll

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        let first = completions.count
        base.poll(into: &completions, now: now)
        if corruptReadCount > 0 || spliced.isBusy {
            for index in first..<completions.count { spoil(completions[index]) }
        }
        if !pending.isEmpty { checkPending(now: now) }
        ready.move(into: &completions)
    }

    private func spoil(_ completion: BlockCompletion) {
        spliced.ended(completion.tag)
        let corruption = corruptions[Int(completion.tag)]
        if corruption.value == 0 { return }
        corruptions[Int(completion.tag)].value = 0
        corruptReadCount &-= 1
        var offset = corruption.offset
        for index in 0..<corruption.segments.count {
            let segment = corruption.segments[index]
            if offset < segment.byteCount {
                segment.store(segment.load(UInt8.self, at: offset) ^ corruption.value, at: offset)
                return
            }
            offset &-= segment.byteCount
        }
    }

    private func checkPending(now: Ticks) {
        checkTime = now.advanced(by: ErrorChannel.checkTicks)
        let epoch = backend.clearEpoch.load(ordering: .relaxed)
        if epoch == clearEpoch { return }
        clearEpoch = epoch
        while let tag = pending.pop() { ready.add(tag, .failed) }
    }

    func abandonHeld() {
        base.abandonHeld()
        retryTime = nil
        while let tag = pending.pop() { ready.add(tag, .aborted) }
    }

    var wakeTime: Ticks? {
        if !ready.isEmpty { return Ticks(0) }
        var time = base.wakeTime ?? Ticks(.max)
        if let retryTime { time = min(time, retryTime) }
        if !pending.isEmpty { time = min(time, checkTime) }
        return time == Ticks(.max) ? nil : time
    }
}
