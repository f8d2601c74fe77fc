internal import Hardware
internal import NVMe
internal import Platform
internal import Reactor

/// A completion queue with its submission queues on their reactor: polled while busy, woken by the
/// driver's doorbells. Confined to the reactor's thread.
final class IOPoller: Poller {
    var queue: IOQueue
    let line: CallLine
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private var mark: AnswerMark
    /// Reports that are due when their condition holds, each once.
    private var waiters: [(condition: (IOPoller) -> Bool, report: () -> Void)] = []
    private var onFault: ((QueueFault) -> Void)?

    init(
        _ queue: consuming IOQueue, line: CallLine, kick: SharedDescriptor, mode: DoorbellMode,
        mark: AnswerMark, onFault: @escaping (QueueFault) -> Void
    ) {
        self.queue = queue
        self.line = line
        self.kick = kick
        watch = DoorbellWatch(mode)
        self.mark = mark
        self.onFault = onFault
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
        if !waiters.isEmpty || queue.phase != .running { follow() }
        return done
    }

    /// Tells the control plane, once, what has become of the queue.
    private func follow() {
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        let due = waiters.filter { $0.condition(self) }
        if due.isEmpty { return }
        waiters.removeAll { $0.condition(self) }
        for waiter in due { waiter.report() }
    }

    /// Takes nothing more; what is in flight is answered.
    func drain() {
        if queue.phase == .running { mark.stopped() }
        queue.drain()
    }

    /// Calls `report` when `condition` holds, perhaps at once.
    func when(_ condition: @escaping (IOPoller) -> Bool, _ report: @escaping () -> Void) {
        if condition(self) { report() } else { waiters.append((condition, report)) }
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
}
