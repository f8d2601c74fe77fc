internal import Hardware
internal import Memory
internal import NVMe
internal import Platform
internal import Reactor

/// The control plane's hold on an admin queue that runs on a reactor.
final class RunningAdminQueue: @unchecked Sendable {
    // Sendable: `poller` and `id` are used on `reactor`'s thread only; the rest never changes.
    /// Tells commands of this life of the controller from those of an earlier one.
    let run: UInt64
    let reactor: Reactor
    private var poller: (any AdminCommandPoller)?
    private var id: PollerID?

    /// What the queue is made of.
    struct Plan: Sendable {
        var submission: SubmissionQueueSetup
        var completion: CompletionQueueSetup
        var memory: HostAccess.Way
        var lease: UInt64
        var journal: NVMeMemory
        /// Most data of one command.
        var transferByteLimit: Int
        var kick: SharedDescriptor
        var mode: DoorbellMode
        var interrupt: SharedDescriptor?
        var counters: QueueCounters
    }

    private init(run: UInt64, reactor: Reactor) {
        self.run = run
        self.reactor = reactor
    }

    /// Starts the queue. The driver is interrupted once: whatever it missed, it looks again.
    static func start(
        _ plan: Plan, run: UInt64, on reactor: Reactor,
        onCommand: @escaping @Sendable (AdminCommand) -> Void,
        onFault: @escaping @Sendable (QueueFault) -> Void, onLoss: @escaping @Sendable () -> Void
    ) async throws(ControllerError) -> RunningAdminQueue {
        let queue = RunningAdminQueue(run: run, reactor: reactor)
        let failure: String? = await reactor.run { context in
            do {
                switch plan.memory {
                case .mapped(let memory):
                    try queue.open(plan, memory, context, onCommand: onCommand, onFault: onFault)
                case .remote(let memory, _):
                    let poller = try MirrorAdminPoller(
                        plan, memory, context, onCommand: onCommand, onFault: onFault,
                        onLoss: onLoss)
                    poller.queue.interruptAnyway()
                    try queue.add(poller, context)
                }
                return nil
            } catch let fault as QueueFault {
                return fault.text
            } catch { return "\(error)" }
        }
        if let failure { throw ControllerError(ErrorNumber.inputOutput, failure) }
        return queue
    }

    private func open(
        _ plan: Plan, _ memory: HostMemory, _ context: ReactorContext,
        onCommand: @escaping (AdminCommand) -> Void, onFault: @escaping (QueueFault) -> Void
    ) throws {
        let line = CallLine(plan.interrupt, gate: reactor.signals)
        let made = try AdminQueue(
            submission: plan.submission, completion: plan.completion, memory: memory,
            journal: plan.journal, interrupt: line, counters: plan.counters)
        let poller = AdminPoller(
            made, line: line, kick: plan.kick, mode: plan.mode, onCommand: onCommand,
            onFault: onFault)
        try add(poller, context)
        poller.queue.interruptAnyway()
    }

    private func add(
        _ poller: any AdminCommandPoller, _ context: ReactorContext
    ) throws(SystemError) {
        do throws(SystemError) { id = try context.add(poller) } catch {
            poller.end()
            throw error
        }
        self.poller = poller
    }

    /// Posts what has become of a command.
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32 = 0) async {
        await use { $0.complete(slot, status, result: result) }
    }

    /// Gives the host a command's data, which it has when this returns.
    func write(_ slot: Int, _ data: [UInt8]) async -> AdminData {
        await move { $0.write(slot, data, $1) }
    }

    /// The first bytes of a command's data.
    func read(_ slot: Int, byteCount: Int) async -> AdminData {
        await move { $0.read(slot, byteCount: byteCount, $1) }
    }

    private func move(
        _ begin:
            @escaping @Sendable (
                any AdminCommandPoller, @escaping (AdminData) -> Void
            ) -> Void
    ) async -> AdminData {
        let end = OneShot<AdminData>()
        reactor.post { [self] context in
            guard let poller, let id else { return end.arrive(.lost) }
            begin(poller) { end.arrive($0) }
            context.wake(id)
        }
        return await end.value()
    }

    /// Takes nothing more.
    /// - Parameter discarding: nothing is posted either.
    func stop(discarding: Bool) async {
        await use { if discarding { $0.discard() } else { $0.drain() } }
    }

    /// Takes nothing more, and calls `done` when nothing of it is under way.
    func drain(_ done: @escaping @Sendable () -> Void) {
        reactor.post { [self] context in
            guard let poller, let id else { return done() }
            poller.drain()
            poller.whenQuiet(done)
            context.wake(id)
        }
    }

    /// As `drain`.
    func quiesce() async {
        let end = OneShot<Void>()
        drain { end.arrive(()) }
        await end.value()
    }

    func resume() async { await use { $0.resume() } }
    func exchange(memory: HostAccess.Way) async { await use { $0.exchange(memory: memory) } }

    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?) async {
        await use { $0.exchange(interrupt: interrupt) }
    }

    /// Whether host memory can no longer be reached.
    func isLost() async -> Bool { await reactor.run { [self] _ in poller?.isLost ?? false } }

    /// Ends it. What is open is its successor's.
    func close() async {
        let end = OneShot<Void>()
        reactor.post { [self] context in
            guard let poller, let id else { return end.arrive(()) }
            poller.discard()
            poller.whenQuiet { end.arrive(()) }
            context.wake(id)
        }
        await end.value()
        await reactor.run { [self] context in
            if let id { context.remove(id) }
            poller?.end()
            poller = nil
            id = nil
        }
    }

    private func use(_ body: @escaping @Sendable (any AdminCommandPoller) -> Void) async {
        await reactor.run { [self] context in
            guard let poller, let id else { return }
            body(poller)
            context.wake(id)
        }
    }
}
