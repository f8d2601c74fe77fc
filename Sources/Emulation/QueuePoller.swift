internal import Bdev
internal import Memory
internal import Platform
internal import Reactor
internal import VirtioBlk

/// A block queue on its reactor: polled while busy, woken by the driver's kick. Confined to the
/// reactor's thread.
final class QueuePoller: BlockPoller {
    var queue: BlockQueue
    let line: CallLine
    private let kick: SharedDescriptor?
    private var mark: AnswerMark
    /// Called once when the queue has drained.
    private var onDrained: (() -> Void)?
    private var onFault: ((QueueFault) -> Void)?

    init(
        _ queue: consuming BlockQueue, line: CallLine, kick: SharedDescriptor?, mark: AnswerMark,
        onFault: @escaping (QueueFault) -> Void
    ) {
        self.queue = queue
        self.line = line
        self.kick = kick
        self.mark = mark
        self.onFault = onFault
    }

    var kickDescriptor: Int32? { kick?.number }
    var wakeTime: Ticks? { queue.wakeTime }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        if done > 0 || mark.isWaiting {
            mark.note(done: done, completedCount: queue.counters.completedCount, now: now)
        }
        if queue.phase != .running { follow() }
        return done
    }

    /// Tells the control plane, once, what has become of the queue.
    private func follow() {
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        if queue.isDrained, let report = onDrained {
            onDrained = nil
            report()
        }
    }

    var isWaiting: Bool { queue.outstanding > 0 }

    func arm() -> Rest {
        if queue.phase == .running {
            guard queue.enableKicks() else { return .working }
        }
        return queue.outstanding > 0 ? .waiting : .idle
    }

    func disarm() { queue.disableKicks() }

    var size: Int { queue.size }
    var position: VirtqueuePosition { queue.position }
    var outstanding: Int { queue.outstanding }
    /// Memory that is gone is a fault.
    var isLost: Bool { false }

    func drain() {
        if queue.phase == .running { mark.stopped() }
        queue.drain()
    }

    func discard() { queue.discard() }
    func resume() { queue.resume() }
    func abandonHeld() { queue.abandonHeld() }
    func setShape(_ shape: BlockShape) { queue.setShape(shape) }
    func setDirtyMarks(_ marks: DirtyMarks?) { queue.setDirtyMarks(marks) }
    func end() {}

    func attach(_ channel: BlockChannel?, shape: BlockShape, identifier: [UInt8]) {
        queue.attach(channel, shape: shape, identifier: identifier)
    }

    func exchange(call: SharedDescriptor?) {
        line.exchange(call)
        queue.interruptAnyway()
    }

    func whenDrained(_ report: @escaping () -> Void) {
        if queue.isDrained { report() } else { onDrained = report }
    }
}

/// A driver's interrupt: its call eventfd. Nil descriptor: the driver polls.
final class CallLine: InterruptLine {
    private var descriptor: SharedDescriptor?
    private let gate: SignalGate

    init(_ descriptor: SharedDescriptor?, gate: SignalGate) {
        self.descriptor = descriptor
        self.gate = gate
    }

    func raise() -> Bool {
        guard let descriptor else { return true }
        defer { CrashPoint.interruptRaised.reached() }
        return gate.raise(descriptor.number)
    }

    func exchange(_ descriptor: SharedDescriptor?) { self.descriptor = descriptor }
}
