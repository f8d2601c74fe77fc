internal import Bdev
internal import Hardware
internal import Memory
internal import NVMe
internal import Platform
internal import Reactor

/// A mirrored completion queue with its submission queues on their reactor: polled while something
/// happens, woken by the driver's doorbells and by the ends of its transfers. Confined to the
/// reactor's thread.
final class MirrorIOPoller: CommandPoller {
    let queue: MirroredIOQueue
    private let link: RelayLink
    private let number: UInt32
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private var mark: AnswerMark
    private var reports: QueueReports
    private let lease: UInt64
    /// Of a function on another machine: under which numbers kicks of submission queues come that
    /// are not called as the completion queue is.
    private var listeners: [UInt16: UInt32] = [:]
    private let isFar: Bool

    /// Puts the queue that `plan` describes on the link of its reactor.
    /// - Parameter onLoss: called once when host memory cannot be reached any more and nothing is
    ///   under way.
    init(
        _ plan: RunningIOQueue.Plan, _ memory: RemoteMemory, _ context: ReactorContext,
        onFault: @escaping (QueueFault) -> Void, onLoss: @escaping () -> Void
    ) throws {
        link = context.relayLink
        number = try context.reserveRelay()
        let message = RelayMessage(
            .interrupt, lease: plan.lease, queue: Int(plan.completion.vector))
        queue = try MirroredIOQueue(
            plan.completion, memory: memory, journal: plan.journal,
            link: MirrorLink(
                staging: link.staging, channel: link, number: number, message: message.encoded),
            shape: plan.shape, counters: plan.counters)
        kick = plan.kick
        watch = DoorbellWatch(plan.mode)
        mark = AnswerMark(
            plan.journal.lastAnswer(of: plan.completion.id),
            completedCount: plan.counters.completedCount, pause: plan.pause)
        reports = QueueReports(onFault: onFault, onLoss: onLoss)
        lease = plan.lease
        isFar = plan.journal.changes != nil
        link.add(
            queue.client, of: queue, number: number, lease: lease,
            relayed: isFar ? Int(plan.completion.id) : nil)
        if plan.isNew { queue.clearHead() }
    }

    var kickDescriptor: Int32? { kick.number }
    var isWaiting: Bool { false }

    var wakeTime: Ticks? {
        guard let look = watch.wakeTime else { return queue.wakeTime }
        return min(look, queue.wakeTime ?? look)
    }

    func look(now: Ticks) -> Bool {
        if let due = queue.wakeTime, due <= now { return true }
        // Of doorbells in host memory only a transfer can tell.
        queue.kick()
        if queue.hasNews { return true }
        watch.rest()
        return false
    }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        if queue.outstanding > 0 { watch.foundWork() }
        if done > 0 || mark.isWaiting {
            mark.note(
                completedCount: queue.counters.completedCount, isIdle: queue.isIdle, now: now)
        }
        if reports.isWaiting || queue.phase != .running || queue.isLost {
            for report in reports.take(self, queue.phase) { report() }
        }
        return done
    }

    func arm() -> Rest {
        if queue.canSend || queue.hasNews { return .working }
        if queue.phase == .running { watch.rest() }
        return queue.outstanding > 0 ? .waiting : .idle
    }

    func kicked() { queue.kick() }
    func disarm() { watch.wake() }

    func when(
        _ condition: @escaping (any CommandPoller) -> Bool, _ report: @escaping () -> Void
    ) {
        if condition(self) { report() } else { reports.add(condition, report) }
    }

    // --- for its controller ---

    var isDrained: Bool { queue.isDrained }
    var isLost: Bool { queue.isLost }
    var isSettled: Bool { queue.isSettled }

    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws(QueueFault) {
        let listens = isFar && setup.id != queue.id && listeners[setup.id] == nil
        let next = listens ? link.reserve() : nil
        if listens, next == nil { throw .stagingFull }
        try queue.add(setup, isNew: isNew)
        guard let number = next else { return }
        link.add(queue.client, of: queue, number: number, lease: lease, relayed: Int(setup.id))
        listeners[setup.id] = number
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

    func drain() {
        if queue.phase == .running { mark.stopped() }
        queue.drain()
    }

    func discard() { queue.discard() }
    func resume() { queue.resume() }
    func abandonHeld() { queue.abandonHeld() }

    func end() {
        queue.close()
        link.remove(number)
        for number in listeners.values { link.remove(number) }
    }

    func exchange(memory: HostAccess.Way) {
        guard case .remote(let memory, _) = memory else {
            preconditionFailure("a mirrored queue has no mapped memory")
        }
        queue.exchange(memory: memory)
    }

    /// The host's side has it, and raises it.
    func exchange(interrupt: SharedDescriptor?) {}
    func exchange(head: Doorbell) { queue.exchange(head: head) }
    func exchange(tail: Doorbell, of submission: UInt16) {
        queue.exchange(tail: tail, of: submission)
    }
}
