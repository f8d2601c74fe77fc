internal import Bdev
internal import Bounded
internal import Memory
internal import Platform

/// The initiator alone, without a virtual machine: a user of a remote namespace's bdev that keeps
/// requests under way, and polls and sleeps as a reactor does.
final class RemotePerf {
    /// As a reactor's patience before it sleeps.
    private static let patience = Ticks.from(nanoseconds: 30_000)

    private let options: PerfRun.Options
    private let depth: Int
    private let blockCount: UInt64
    private let blockByteCount: Int
    private let channel: BlockChannel
    private let memory: Mapping
    private let arena: SegmentArena
    private let bell: ReactorBell
    private var batch: RequestBatch
    private var completions: CompletionBatch
    private var started: [Ticks]
    private var places: PerfPlaces

    /// Uses the namespace of `target` that `attach` has found.
    init(_ device: BlockDevice, depth: Int, _ options: PerfRun.Options) throws {
        self.options = options
        self.depth = depth
        blockByteCount = device.geometry.blockByteCount
        blockCount = UInt64(options.byteCount / blockByteCount)
        places = try PerfPlaces(
            options, blockByteCount: blockByteCount, unitByteCount: blockByteCount,
            unitCount: device.geometry.blockCount)
        let byteCount = depth * options.byteCount
        let file = try MemoryFile.create(name: "requests", byteCount: UInt64(byteCount))
        memory = try Mapping(file.number, byteCount: byteCount)
        arena = SegmentArena(capacity: depth)
        let bell = try ReactorBell()
        self.bell = bell
        channel = try device.openChannel(
            depth: depth, at: ChannelSite(watch: bell.watch, unwatch: { _ in }))
        batch = RequestBatch(capacity: depth)
        completions = CompletionBatch(capacity: depth)
        started = [Ticks](repeating: Ticks(0), count: depth)
    }

    func run() throws -> PerfRun.Outcome {
        var outcome = PerfRun.Outcome()
        let processorStart = Clock.threadNanoseconds()
        let start = Ticks.now()
        let end = start.advanced(by: Ticks.from(nanoseconds: UInt64(options.seconds * 1e9)))
        for tag in 0..<depth { prepare(UInt32(tag), now: start) }
        submit(now: start)
        var last = start
        while channel.outstanding > 0 {
            let now = Ticks.now()
            let isOver = now >= end || options.interruption?.isDue == true
            if reap(now: now, again: !isOver, &outcome) {
                last = now
                submit(now: now)
            } else if now.since(last) > Self.patience {
                bell.sleep(until: channel.wakeTime)
                last = .now()
            }
        }
        outcome.nanoseconds = Ticks.nanoseconds(from: Ticks.now().since(start))
        outcome.processorNanoseconds = Clock.threadNanoseconds() - processorStart
        return outcome
    }

    private func prepare(_ tag: UInt32, now: Ticks) {
        arena[Int(tag)] = memory.bytes.segment.part(
            at: Int(tag) * options.byteCount, byteCount: options.byteCount)
        started[Int(tag)] = now
        batch.append(
            BlockRequest(
                places.nextIsWrite() ? .write : .read, tag: tag, block: places.next(),
                blockCount: blockCount, segments: arena.list(at: Int(tag), count: 1)))
    }

    private func submit(now: Ticks) {
        if batch.count == 0 { return }
        let taken = channel.submit(batch, from: 0, now: now)
        precondition(taken == batch.count, "a channel takes as many as its depth")
        batch.removeAll()
    }

    /// - Returns: whether something has been answered.
    private func reap(
        now: Ticks, again: Bool, _ outcome: inout PerfRun.Outcome
    ) -> Bool {
        completions.removeAll()
        channel.poll(into: &completions, now: now)
        for index in 0..<completions.count {
            let completion = completions[index]
            outcome.requests += 1
            if completion.status != .success { outcome.errors += 1 }
            outcome.latency.record(ticks: now.since(started[Int(completion.tag)]))
            if again { prepare(completion.tag, now: now) }
        }
        return completions.count > 0
    }
}

/// What wakes a user that sleeps.
private final class ReactorBell {
    private let epoll: Epoll
    private static let longest: Int64 = 100_000_000

    init() throws(SystemError) { epoll = try Epoll() }

    func watch(_ descriptor: Int32) {
        // One that cannot be added is looked at after `longest`.
        try? epoll.add(descriptor, .edge, token: UInt64(descriptor))
    }

    func sleep(until time: Ticks?) {
        let left = time.map { Int64(clamping: Ticks.nanoseconds(from: $0.since(.now()))) }
        _ = epoll.wait(nanoseconds: min(left ?? Self.longest, Self.longest))
    }
}
