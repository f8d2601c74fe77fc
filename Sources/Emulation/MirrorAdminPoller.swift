internal import Hardware
internal import Memory
internal import NVMe
internal import Platform
internal import Reactor

/// A mirrored admin queue on its reactor: commands go to the control plane, which has their data
/// moved and their completions posted. Confined to the reactor's thread.
final class MirrorAdminPoller: AdminCommandPoller {
    let queue: MirroredAdminQueue
    private let link: RelayLink
    private let number: UInt32
    private let kick: SharedDescriptor
    private var watch: DoorbellWatch
    private let onCommand: (AdminCommand) -> Void
    private var onFault: ((QueueFault) -> Void)?
    /// Called once when host memory cannot be reached any more and nothing is under way.
    private var onLoss: (() -> Void)?
    private var onQuiet: [() -> Void] = []
    /// Whoever waits for the data of a command.
    private var moves: [(slot: Int, report: (AdminData) -> Void)] = []

    /// Puts the queue that `plan` describes on the link of its reactor.
    init(
        _ plan: RunningAdminQueue.Plan, _ memory: RemoteMemory, _ context: ReactorContext,
        onCommand: @escaping (AdminCommand) -> Void, onFault: @escaping (QueueFault) -> Void,
        onLoss: @escaping () -> Void
    ) throws {
        link = context.relayLink
        number = try context.reserveRelay()
        queue = try MirroredAdminQueue(
            submission: plan.submission, completion: plan.completion, memory: memory,
            journal: plan.journal,
            link: MirrorLink(
                staging: link.staging, channel: link, number: number,
                message: RelayMessage(.interrupt, lease: plan.lease, queue: 0).encoded),
            transferByteLimit: plan.transferByteLimit, counters: plan.counters)
        kick = plan.kick
        watch = DoorbellWatch(plan.mode)
        self.onCommand = onCommand
        self.onFault = onFault
        self.onLoss = onLoss
        link.add(
            queue.client, of: queue, number: number, lease: plan.lease,
            relayed: plan.journal.changes == nil ? nil : 0)
    }

    var kickDescriptor: Int32? { kick.number }
    var isWaiting: Bool { false }
    var wakeTime: Ticks? { queue.hasNews ? Ticks(0) : watch.wakeTime }

    func look(now: Ticks) -> Bool {
        if queue.hasNews { return true }
        watch.rest()
        return false
    }

    func poll(now: Ticks) -> Int {
        let done = queue.poll(now: now)
        while let command = queue.next() { onCommand(command) }
        if done > 0 { watch.foundWork() }
        if !moves.isEmpty { reportMoves() }
        if queue.phase != .running || queue.isLost { follow() }
        return done
    }

    private func reportMoves() {
        var open: [(slot: Int, report: (AdminData) -> Void)] = []
        for move in moves {
            if let end = queue.end(ofData: move.slot) {
                move.report(end)
            } else {
                open.append(move)
            }
        }
        moves = open
    }

    private func follow() {
        if case .failed(let fault) = queue.phase, let report = onFault {
            onFault = nil
            report(fault)
        }
        guard queue.isQuiet else { return }
        let due = onQuiet
        onQuiet = []
        for report in due { report() }
        if queue.isLost, let report = onLoss {
            onLoss = nil
            report()
        }
    }

    func arm() -> Rest {
        if queue.canSend || queue.hasNews { return .working }
        if queue.phase == .running { watch.rest() }
        return .idle
    }

    func disarm() { watch.wake() }

    // --- for its controller ---

    var isLost: Bool { queue.isLost }

    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32) {
        queue.complete(slot, status, result: result)
    }

    func read(_ slot: Int, byteCount: Int, _ report: @escaping (AdminData) -> Void) {
        queue.read(slot, byteCount: byteCount)
        moves.append((slot, report))
    }

    func write(_ slot: Int, _ data: [UInt8], _ report: @escaping (AdminData) -> Void) {
        queue.write(slot, data)
        moves.append((slot, report))
    }

    func drain() { queue.drain() }
    func discard() { queue.discard() }
    func resume() { queue.resume() }

    func whenQuiet(_ report: @escaping () -> Void) {
        if queue.isQuiet { report() } else { onQuiet.append(report) }
    }

    func exchange(memory: HostAccess.Way) {
        guard case .remote(let memory, _) = memory else {
            preconditionFailure("a mirrored queue has no mapped memory")
        }
        queue.exchange(memory: memory)
    }

    /// The host's side has it, and raises it.
    func exchange(interrupt: SharedDescriptor?) {}

    func end() {
        queue.close()
        link.remove(number)
    }
}
