internal import Bdev
internal import Hardware
internal import NVMe
internal import Platform
internal import Reactor

/// A completion queue with its submission queues on their reactor: polled while busy, woken by the
/// driver's doorbells. Confined to the reactor's thread.
final class IOPoller: CommandPoller {
    var queue: IOQueue
    let line: CallLine
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private var mark: AnswerMark
    private var reports: QueueReports

    init(
        _ queue: consuming IOQueue, line: CallLine, kick: SharedDescriptor, mode: DoorbellMode,
        mark: AnswerMark, onFault: @escaping (QueueFault) -> Void
    ) {
        self.queue = queue
        self.line = line
        self.kick = kick
        watch = DoorbellWatch(mode)
        self.mark = mark
        reports = QueueReports(onFault: onFault)
    }

    var kickDescriptor: Int32? { kick.number }
    var isWaiting: Bool { queue.outstanding > 0 || watch.isLooking }

    var wakeTime: Ticks? {
        guard let look = watch.wakeTime else { return queue.wakeTime }
        return min(look, queue.wakeTime ?? look)
    }

    func look(now: Ticks) -> Bool {
        if let due = queue.wakeTime, due <= now { return true }
        if queue.hasNews() { return true }
        watch.rest()
        return false
    }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        if done > 0 { watch.foundWork() }
        if done > 0 || mark.isWaiting {
            mark.note(done: done, completedCount: queue.counters.completedCount, now: now)
        }
        if reports.isWaiting || queue.phase != .running {
            for report in reports.take(self, queue.phase) { report() }
        }
        return done
    }

    /// Takes nothing more; what is in flight is answered.
    func drain() {
        if queue.phase == .running { mark.stopped() }
        queue.drain()
    }

    func when(
        _ condition: @escaping (any CommandPoller) -> Bool, _ report: @escaping () -> Void
    ) {
        if condition(self) { report() } else { reports.add(condition, report) }
    }

    func arm() -> Rest {
        if queue.phase == .running {
            guard queue.enableDoorbellEvents() else { return .working }
            watch.rest()
        }
        return queue.outstanding > 0 ? .waiting : .idle
    }

    func disarm() {
        watch.wake()
        queue.disableDoorbellEvents()
    }

    // --- for its controller ---

    var isDrained: Bool { queue.isDrained }
    /// Memory that is gone is a fault.
    var isLost: Bool { false }
    var isSettled: Bool { true }

    /// Its doorbell has been cleared before.
    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws(QueueFault) {
        try queue.add(setup)
    }
    func remove(submission: UInt16) { queue.remove(submission: submission) }
    func isDrained(submission: UInt16) -> Bool { queue.isDrained(submission: submission) }
    func release(submission: UInt16) { queue.release(submission: submission) }
    func abort(submission: UInt16, command: UInt16) -> Bool {
        queue.abort(submission: submission, command: command)
    }
    func isUnderWay(submission: UInt16, command: UInt16) -> Bool {
        queue.isUnderWay(submission: submission, command: command)
    }

    func attach(_ namespace: NamespaceView, channel: BlockChannel) {
        queue.attach(namespace, channel: channel)
    }
    func update(_ namespace: NamespaceView) { queue.update(namespace) }
    func detach(namespace: UInt32) { queue.detach(namespace: namespace) }
    func isDrained(namespace: UInt32) -> Bool { queue.isDrained(namespace: namespace) }
    func release(namespace: UInt32) { queue.release(namespace: namespace) }

    func discard() { queue.discard() }
    func resume() { queue.resume() }
    func abandonHeld() { queue.abandonHeld() }
    func end() {}

    func exchange(memory: HostAccess.Way) {
        guard case .mapped(let memory) = memory else {
            preconditionFailure("a mapped queue has mapped memory")
        }
        queue.exchange(memory: memory)
    }

    func exchange(interrupt: SharedDescriptor?) {
        line.exchange(interrupt)
        queue.interruptAnyway()
    }

    func exchange(head: Doorbell) { queue.exchange(head: head) }
    func exchange(tail: Doorbell, of submission: UInt16) {
        queue.exchange(tail: tail, of: submission)
    }
}
