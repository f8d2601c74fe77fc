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
    private var poller: AdminPoller?
    private var id: PollerID?

    /// What the queue is made of.
    struct Plan: Sendable {
        var submission: SubmissionQueueSetup
        var completion: CompletionQueueSetup
        var memory: HostMemory
        var journal: NVMeMemory
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
        onFault: @escaping @Sendable (QueueFault) -> Void
    ) async throws(ControllerError) -> RunningAdminQueue {
        let queue = RunningAdminQueue(run: run, reactor: reactor)
        let failure: String? = await reactor.run { context in
            do {
                let line = CallLine(plan.interrupt, gate: reactor.signals)
                let made = try AdminQueue(
                    submission: plan.submission, completion: plan.completion, memory: plan.memory,
                    journal: plan.journal, interrupt: line, counters: plan.counters)
                let poller = AdminPoller(
                    made, line: line, kick: plan.kick, mode: plan.mode, onCommand: onCommand,
                    onFault: onFault)
                queue.id = try context.add(poller)
                queue.poller = poller
                poller.queue.interruptAnyway()
                return nil
            } catch let fault as QueueFault {
                return fault.text
            } catch { return "\(error)" }
        }
        if let failure { throw ControllerError(ErrorNumber.inputOutput, failure) }
        return queue
    }

    /// Posts what has become of a command.
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32 = 0) async {
        await use { $0.queue.complete(slot, status, result: result) }
    }

    /// Gives the host a command's data.
    /// - Returns: the status to complete it with when that cannot be; nil when it has them.
    func write(_ slot: Int, _ data: [UInt8]) async -> NVMeStatus? {
        await reactor.run { [self] _ in
            guard let poller else { return .internalError }
            do throws(NVMeStatus) {
                try poller.queue.write(slot, data)
                return nil
            } catch { return error }
        }
    }

    /// The first bytes of a command's data.
    func read(_ slot: Int, byteCount: Int) async -> Result<[UInt8], NVMeStatus> {
        await reactor.run { [self] _ in
            guard let poller else { return .failure(.internalError) }
            do throws(NVMeStatus) {
                return .success(try poller.queue.read(slot, byteCount: byteCount))
            } catch { return .failure(error) }
        }
    }

    /// Takes nothing more.
    /// - Parameter discarding: nothing is posted either.
    func stop(discarding: Bool) async {
        await use { if discarding { $0.queue.discard() } else { $0.queue.drain() } }
    }

    /// Takes nothing more, and calls `done` when that is so.
    func drain(_ done: @escaping @Sendable () -> Void) {
        reactor.post { [self] _ in
            poller?.queue.drain()
            done()
        }
    }

    func resume() async { await use { $0.queue.resume() } }
    func exchange(memory: HostMemory) async { await use { $0.queue.exchange(memory: memory) } }

    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?) async {
        await use {
            $0.line.exchange(interrupt)
            $0.queue.interruptAnyway()
        }
    }

    func close() async {
        await reactor.run { [self] context in
            if let id { context.remove(id) }
            poller = nil
            id = nil
        }
    }

    private func use(_ body: @escaping @Sendable (AdminPoller) -> Void) async {
        await reactor.run { [self] context in
            guard let poller, let id else { return }
            body(poller)
            context.wake(id)
        }
    }
}
