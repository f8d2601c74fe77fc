internal import Bdev
internal import Hardware
internal import Memory
internal import NVMe
internal import Platform
internal import Reactor

/// The control plane's hold on a completion queue and its submission queues, which run on a
/// reactor.
final class RunningIOQueue: @unchecked Sendable {
    // Sendable: `poller` and `pollerID` are used on `reactor`'s thread; the rest never changes.
    let id: UInt16
    let vector: UInt16
    let reactor: Reactor
    private var poller: IOPoller?
    private var pollerID: PollerID?

    /// What the queue is made of.
    struct Plan: Sendable {
        var completion: CompletionQueueSetup
        var memory: HostMemory
        var journal: NVMeMemory
        var shape: QueueShape
        var kick: SharedDescriptor
        var mode: DoorbellMode
        var interrupt: SharedDescriptor?
        var counters: QueueCounters
        /// Attached namespaces.
        var namespaces: [(view: NamespaceView, device: BlockDevice)]
        /// Submission queues that are there already, with their kicks.
        var submissions: [(setup: SubmissionQueueSetup, kick: SharedDescriptor)] = []
        /// The pause that its first answer ends.
        var pause: PauseWatch?
    }

    private init(_ plan: Plan, reactor: Reactor) {
        id = plan.completion.id
        vector = plan.completion.vector
        self.reactor = reactor
    }

    /// Starts the queue. The driver is interrupted once: whatever it missed, it looks again.
    static func start(
        _ plan: Plan, on reactor: Reactor, onFault: @escaping @Sendable (QueueFault) -> Void
    ) async throws(ControllerError) -> RunningIOQueue {
        let running = RunningIOQueue(plan, reactor: reactor)
        try await running.attempt { context in
            try running.open(plan, context, onFault: onFault)
        }
        return running
    }

    private func open(
        _ plan: Plan, _ context: ReactorContext, onFault: @escaping (QueueFault) -> Void
    ) throws {
        let line = CallLine(plan.interrupt, gate: reactor.signals)
        var queue = try IOQueue(
            plan.completion, memory: plan.memory, journal: plan.journal, interrupt: line,
            shape: plan.shape, counters: plan.counters)
        for namespace in plan.namespaces {
            queue.attach(
                namespace.view,
                channel: try namespace.device.openChannel(
                    depth: IOQueue.channelDepth, at: context.channelSite))
        }
        for submission in plan.submissions { try queue.add(submission.setup) }
        let mark = AnswerMark(
            plan.journal.lastAnswer(of: id), completedCount: plan.counters.completedCount,
            pause: plan.pause)
        let poller = IOPoller(
            queue, line: line, kick: plan.kick, mode: plan.mode, mark: mark, onFault: onFault)
        let pollerID = try context.add(poller)
        self.pollerID = pollerID
        self.poller = poller
        for submission in plan.submissions where submission.setup.id != id {
            try context.add(kick: submission.kick, to: pollerID)
        }
        poller.queue.interruptAnyway()
    }

    // --- submission queues ---

    func add(
        _ setup: SubmissionQueueSetup, kick: SharedDescriptor
    ) async throws(ControllerError) {
        try await attempt { [self] context in
            guard let poller, let pollerID else { return }
            try poller.queue.add(setup)
            // The completion queue's own kick is the same as that of the queue of its number.
            if setup.id != id { try context.add(kick: kick, to: pollerID) }
            context.wake(pollerID)
        }
    }

    /// Ends a submission queue: what it has in flight is answered first.
    func remove(submission: UInt16) async {
        await use { $0.queue.remove(submission: submission) }
        await wait { $0.queue.isDrained(submission: submission) }
        await use { $0.queue.release(submission: submission) }
    }

    /// Whether the command was found before a device worked on it.
    func abort(submission: UInt16, command: UInt16) async -> Bool {
        await reactor.run { [self] context in
            guard let poller, let pollerID else { return false }
            defer { context.wake(pollerID) }
            return poller.queue.abort(submission: submission, command: command)
        }
    }

    // --- namespaces ---

    func attach(_ view: NamespaceView, _ device: BlockDevice) async throws(ControllerError) {
        try await attempt { [self] context in
            guard let poller else { return }
            let channel = try device.openChannel(
                depth: IOQueue.channelDepth, at: context.channelSite)
            poller.queue.attach(view, channel: channel)
        }
    }

    func update(_ view: NamespaceView) async { await use { $0.queue.update(view) } }

    /// New commands for the namespace are refused from now on.
    func startDetach(_ namespace: UInt32) async {
        await use { $0.queue.detach(namespace: namespace) }
    }

    /// Waits for the namespace's commands and gives its channel back. After `limit`, those that no
    /// device works on are given up.
    func finishDetach(_ namespace: UInt32, within limit: Duration) async {
        if await !wait(within: limit, { $0.queue.isDrained(namespace: namespace) }) {
            await abandonHeld()
            await wait { $0.queue.isDrained(namespace: namespace) }
        }
        await use { $0.queue.release(namespace: namespace) }
    }

    // --- stopping ---

    /// Takes nothing more.
    /// - Parameter discarding: the controller was reset; nothing is answered.
    func stop(discarding: Bool) async {
        await use { if discarding { $0.queue.discard() } else { $0.drain() } }
    }

    /// Waits until what is under way has ended. False: `limit` passed first.
    func drained(within limit: Duration?) async -> Bool {
        await wait(within: limit) { $0.queue.isDrained }
    }

    /// Ends what waits for something other than a device.
    func abandonHeld() async { await use { $0.queue.abandonHeld() } }

    func resume() async { await use { $0.queue.resume() } }

    /// Ends a quiesced queue and gives its channels back.
    func close() async {
        await reactor.run { [self] context in
            if let pollerID { context.remove(pollerID) }
            poller = nil
            pollerID = nil
        }
    }

    // --- what the host changes ---

    func exchange(memory: HostMemory) async { await use { $0.queue.exchange(memory: memory) } }

    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?) async {
        await use {
            $0.line.exchange(interrupt)
            $0.queue.interruptAnyway()
        }
    }

    func exchange(head: Doorbell, tails: [(submission: UInt16, tail: Doorbell)]) async {
        await use { poller in
            poller.queue.exchange(head: head)
            for (submission, tail) in tails { poller.queue.exchange(tail: tail, of: submission) }
        }
    }

    /// Takes nothing more, and calls `done` when what is in flight has been answered.
    func drain(_ done: @escaping @Sendable () -> Void) {
        reactor.post { [self] context in
            guard let poller, let pollerID else { return done() }
            poller.drain()
            poller.when({ $0.queue.isDrained }, done)
            context.wake(pollerID)
        }
    }

    // --- on the reactor ---

    private func use(_ body: @escaping @Sendable (IOPoller) -> Void) async {
        await reactor.run { [self] context in
            guard let poller, let pollerID else { return }
            body(poller)
            context.wake(pollerID)
        }
    }

    private func attempt(
        _ body: @escaping @Sendable (ReactorContext) throws -> Void
    ) async throws(ControllerError) {
        let failure: String? = await reactor.run { context in
            do {
                try body(context)
                return nil
            } catch let fault as QueueFault {
                return fault.text
            } catch { return "\(error)" }
        }
        if let failure { throw ControllerError(ErrorNumber.inputOutput, failure) }
    }

    /// False: `limit` passed before the condition held.
    @discardableResult
    private func wait(
        within limit: Duration? = nil, _ condition: @escaping @Sendable (IOPoller) -> Bool
    ) async -> Bool {
        let end = OneShot<Bool>()
        reactor.post { [self] context in
            guard let poller, let pollerID else { return end.arrive(true) }
            poller.when(condition) { end.arrive(true) }
            context.wake(pollerID)
        }
        let timer = limit.map { limit in
            Task {
                try? await Task.sleep(for: limit)
                end.arrive(false)
            }
        }
        defer { timer?.cancel() }
        return await end.value()
    }
}
