internal import Hardware
internal import NVMe
internal import Platform
internal import Reactor

/// An admin queue on its reactor: commands go to the control plane, which posts their completions.
/// Confined to the reactor's thread.
final class AdminPoller: Poller {
    var queue: AdminQueue
    let line: CallLine
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private let onCommand: (AdminCommand) -> Void
    private var onFault: ((QueueFault) -> Void)?

    init(
        _ queue: consuming AdminQueue, line: CallLine, kick: SharedDescriptor, mode: DoorbellMode,
        onCommand: @escaping (AdminCommand) -> Void, onFault: @escaping (QueueFault) -> Void
    ) {
        self.queue = queue
        self.line = line
        self.kick = kick
        watch = DoorbellWatch(mode)
        self.onCommand = onCommand
        self.onFault = onFault
    }

    var kickDescriptor: Int32? { kick.number }
    var wakeTime: Ticks? { watch.wakeTime }
    var isWaiting: Bool { watch.isLooking }

    func look(now: Ticks) -> Bool {
        if queue.hasNews() { return true }
        watch.rest()
        return false
    }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        while let command = queue.next() { onCommand(command) }
        if done > 0 { watch.foundWork() }
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        return done
    }

    func arm() -> Rest {
        if queue.phase == .running {
            guard queue.enableDoorbellEvents() else { return .working }
            watch.rest()
        }
        return .idle
    }

    func disarm() {
        watch.wake()
        queue.disableDoorbellEvents()
    }
}
