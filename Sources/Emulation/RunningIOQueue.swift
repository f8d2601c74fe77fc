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
    /// How long an Abort waits for the answer of its command, which a host may have no room for.
    private static let answerLimit = Duration.seconds(1)
    private var poller: (any CommandPoller)?
    private var pollerID: PollerID?

    /// What the queue is made of.
    struct Plan: Sendable {
        var completion: CompletionQueueSetup
        var memory: HostAccess.Way
        var lease: UInt64
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
        /// Whether its driver has just created it: its doorbell starts at 0.
        var isNew = false
    }

    private init(_ plan: Plan, reactor: Reactor) {
        id = plan.completion.id
        vector = plan.completion.vector
        self.reactor = reactor
    }

    /// Starts the queue. The driver is interrupted once: whatever it missed, it looks again.
    /// - Parameter onLoss: called once when host memory cannot be reached any more.
    static func start(
        _ plan: Plan, on reactor: Reactor, onFault: @escaping @Sendable (QueueFault) -> Void,
        onLoss: @escaping @Sendable () -> Void
    ) async throws(ControllerError) -> RunningIOQueue {
        let running = RunningIOQueue(plan, reactor: reactor)
        try await running.attempt { context in
            switch plan.memory {
            case .mapped(let memory):
                try running.open(plan, memory, context, onFault: onFault)
            case .remote(let memory, _):
                try running.open(plan, memory, context, onFault: onFault, onLoss: onLoss)
            }
        }
        if plan.isNew { await running.wait { $0.isSettled } }
        return running
    }

    private func open(
        _ plan: Plan, _ memory: HostMemory, _ context: ReactorContext,
        onFault: @escaping (QueueFault) -> Void
    ) throws {
        let line = CallLine(plan.interrupt, gate: reactor.signals)
        let queue = try IOQueue(
            plan.completion, memory: memory, journal: plan.journal, interrupt: line,
            shape: plan.shape, counters: plan.counters)
        let mark = AnswerMark(
            plan.journal.lastAnswer(of: id), completedCount: plan.counters.completedCount,
            pause: plan.pause)
        let poller = IOPoller(
            queue, line: line, kick: plan.kick, mode: plan.mode, mark: mark, onFault: onFault)
        try furnish(poller, plan, context)
        try add(poller, plan, context)
        poller.queue.interruptAnyway()
    }

    private func open(
        _ plan: Plan, _ memory: RemoteMemory, _ context: ReactorContext,
        onFault: @escaping (QueueFault) -> Void, onLoss: @escaping () -> Void
    ) throws {
        let poller = try MirrorIOPoller(
            plan, memory, context, onFault: onFault, onLoss: onLoss)
        do {
            try furnish(poller, plan, context)
            try add(poller, plan, context)
        } catch {
            poller.end()
            throw error
        }
        poller.queue.interruptAnyway()
    }

    private func furnish(
        _ poller: any CommandPoller, _ plan: Plan, _ context: ReactorContext
    ) throws {
        for namespace in plan.namespaces {
            poller.attach(
                namespace.view,
                channel: try namespace.device.openChannel(
                    depth: IOQueue.channelDepth, at: context.channelSite))
        }
        for submission in plan.submissions { try poller.add(submission.setup, isNew: false) }
    }

    private func add(
        _ poller: any CommandPoller, _ plan: Plan, _ context: ReactorContext
    ) throws(SystemError) {
        let pollerID = try context.add(poller)
        self.pollerID = pollerID
        self.poller = poller
        for submission in plan.submissions where submission.setup.id != id {
            try context.add(kick: submission.kick, to: pollerID)
        }
    }

    // --- submission queues ---

    func add(
        _ setup: SubmissionQueueSetup, kick: SharedDescriptor
    ) async throws(ControllerError) {
        try await attempt { [self] context in
            guard let poller, let pollerID else { return }
            try poller.add(setup, isNew: true)
            // The completion queue's own kick is the same as that of the queue of its number.
            if setup.id != id { try context.add(kick: kick, to: pollerID) }
            context.wake(pollerID)
        }
        await wait { $0.isSettled }
    }

    /// Ends a submission queue: what it has in flight is answered first.
    func remove(submission: UInt16) async {
        await use { $0.remove(submission: submission) }
        await wait { $0.isDrained(submission: submission) }
        await use { $0.release(submission: submission) }
    }

    /// Whether the command was found before a device worked on it, and has been answered so.
    func abort(submission: UInt16, command: UInt16) async -> Bool {
        let isFound = await reactor.run { [self] context in
            guard let poller, let pollerID else { return false }
            defer { context.wake(pollerID) }
            return poller.abort(submission: submission, command: command)
        }
        guard isFound else { return false }
        await wait(within: Self.answerLimit) {
            $0.isLost || !$0.isUnderWay(submission: submission, command: command)
        }
        return await reactor.run { [self] _ in
            guard let poller, !poller.isLost else { return false }
            return !poller.isUnderWay(submission: submission, command: command)
        }
    }

    // --- namespaces ---

    func attach(_ view: NamespaceView, _ device: BlockDevice) async throws(ControllerError) {
        try await attempt { [self] context in
            guard let poller else { return }
            let channel = try device.openChannel(
                depth: IOQueue.channelDepth, at: context.channelSite)
            poller.attach(view, channel: channel)
        }
    }

    func update(_ view: NamespaceView) async { await use { $0.update(view) } }

    /// New commands for the namespace are refused from now on.
    func startDetach(_ namespace: UInt32) async {
        await use { $0.detach(namespace: namespace) }
    }

    /// Waits for the namespace's commands and gives its channel back. After `limit`, those that no
    /// device works on are given up.
    func finishDetach(_ namespace: UInt32, within limit: Duration) async {
        if await !wait(within: limit, { $0.isDrained(namespace: namespace) }) {
            await abandonHeld()
            await wait { $0.isDrained(namespace: namespace) }
        }
        await use { $0.release(namespace: namespace) }
    }

    // --- stopping ---

    /// Takes nothing more.
    /// - Parameter discarding: the controller was reset; nothing is answered.
    func stop(discarding: Bool) async {
        await use { if discarding { $0.discard() } else { $0.drain() } }
    }

    /// Waits until what is under way has ended. False: `limit` passed first.
    func drained(within limit: Duration?) async -> Bool {
        await wait(within: limit) { $0.isDrained }
    }

    /// Ends what waits for something other than a device.
    func abandonHeld() async { await use { $0.abandonHeld() } }

    func resume() async { await use { $0.resume() } }

    /// Whether host memory can no longer be reached.
    func isLost() async -> Bool { await reactor.run { [self] _ in poller?.isLost ?? false } }

    /// Ends a quiesced queue and gives its channels back.
    func close() async {
        await reactor.run { [self] context in
            if let pollerID { context.remove(pollerID) }
            poller?.end()
            poller = nil
            pollerID = nil
        }
    }

    // --- what the host changes ---

    func exchange(memory: HostAccess.Way) async { await use { $0.exchange(memory: memory) } }

    /// Exchanges the interrupt, and raises the new one once.
    func exchange(interrupt: SharedDescriptor?) async {
        await use { $0.exchange(interrupt: interrupt) }
    }

    func exchange(head: Doorbell, tails: [(submission: UInt16, tail: Doorbell)]) async {
        await use { poller in
            poller.exchange(head: head)
            for (submission, tail) in tails { poller.exchange(tail: tail, of: submission) }
        }
        await wait { $0.isSettled }
    }

    /// Takes nothing more, and calls `done` when what is in flight has been answered.
    func drain(_ done: @escaping @Sendable () -> Void) {
        reactor.post { [self] context in
            guard let poller, let pollerID else { return done() }
            poller.drain()
            poller.when({ $0.isDrained }, done)
            context.wake(pollerID)
        }
    }

    // --- on the reactor ---

    private func use(_ body: @escaping @Sendable (any CommandPoller) -> Void) async {
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
        within limit: Duration? = nil, _ condition: @escaping @Sendable (any CommandPoller) -> Bool
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
