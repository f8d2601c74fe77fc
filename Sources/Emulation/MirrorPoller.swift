internal import Bdev
internal import Hardware
internal import Platform
internal import Reactor
internal import VirtioBlk

/// A mirrored block queue on its reactor: polled while something happens, woken by what its link
/// hears. Confined to the reactor's thread.
final class MirrorPoller: BlockPoller {
    let queue: MirroredQueue
    private let link: RelayLink
    private let number: UInt32
    private let counters: QueueCounters
    private var mark: AnswerMark
    private var onDrained: (() -> Void)?
    private var onFault: ((QueueFault) -> Void)?
    /// Called once when host memory cannot be reached any more and nothing is under way.
    private var onLoss: (() -> Void)?

    /// Makes the queue that `plan` describes, on the link of its reactor.
    init(
        _ plan: RunningQueue.Plan, at place: MirroredQueue.Place, lease: UInt64, index: Int,
        _ channel: BlockChannel?, _ counters: QueueCounters, _ context: ReactorContext,
        onFault: @escaping (QueueFault) -> Void, onLoss: @escaping () -> Void
    ) throws(ControllerError) {
        link = context.relayLink
        number = try context.reserveRelay()
        do throws(QueueFault) {
            queue = try MirroredQueue(
                plan.setup, at: place, staging: link.staging, channel: link, number: number,
                configuration: plan.configuration, device: channel, counters: counters,
                message: RelayMessage(.interrupt, lease: lease, queue: index).encoded)
        } catch { throw ControllerError(ErrorNumber.invalid, error.text) }
        self.counters = counters
        mark = AnswerMark(
            plan.lastAnswer, completedCount: counters.completedCount, pause: plan.pause)
        self.onFault = onFault
        self.onLoss = onLoss
        link.add(queue, number: number, lease: lease, queue: index)
        queue.interruptAnyway()
    }

    /// The relay says it, through the link.
    var kickDescriptor: Int32? { nil }
    var wakeTime: Ticks? { queue.wakeTime }
    var isWaiting: Bool { false }
    var size: Int { queue.size }
    var position: VirtqueuePosition { queue.position }
    var outstanding: Int { queue.outstanding }
    var isLost: Bool { queue.isLost && queue.isDrained }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        if done > 0 || mark.isWaiting {
            mark.note(
                completedCount: counters.completedCount, isIdle: queue.isIdle, now: now)
        }
        if queue.phase != .running || queue.isLost { follow() }
        return done
    }

    private func follow() {
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        guard queue.isDrained else { return }
        if let report = onDrained {
            onDrained = nil
            report()
        }
        if queue.isLost, let report = onLoss {
            onLoss = nil
            report()
        }
    }

    func arm() -> Rest {
        if queue.canSend { return .working }
        return queue.outstanding > 0 ? .waiting : .idle
    }

    func disarm() {}

    func drain() {
        if queue.phase == .running { mark.stopped() }
        queue.drain()
    }

    func discard() { queue.discard() }
    func resume() { queue.resume() }

    func whenDrained(_ report: @escaping () -> Void) {
        if queue.isDrained { report() } else { onDrained = report }
    }

    func abandonHeld() { queue.abandonHeld() }
    func setShape(_ shape: BlockShape) { queue.setShape(shape) }

    func attach(_ channel: BlockChannel?, shape: BlockShape, identifier: [UInt8]) {
        queue.attach(channel, shape: shape, identifier: identifier)
    }

    /// Never asked for: the log of pages is not offered on this data path.
    func setDirtyMarks(_ marks: DirtyMarks?) {
        precondition(marks == nil, "pages are logged by mapped queues only")
    }

    /// The host's side has it; the new one is raised once.
    func exchange(call: SharedDescriptor?) { queue.interruptAnyway() }

    func end() {
        queue.close()
        link.remove(number)
    }
}
