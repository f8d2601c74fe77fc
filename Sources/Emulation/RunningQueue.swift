internal import Bdev
internal import Hardware
internal import Memory
internal import Platform
internal import Reactor
internal import VirtioBlk

/// The control plane's hold on a queue that runs on a reactor.
final class RunningQueue: @unchecked Sendable {
    // Sendable: `poller` is made, used and released on `reactor`'s thread only, `logGeneration` is
    // used by its controller alone; the rest never changes.
    let index: Int
    let run: UInt64
    let epoch: UInt64
    let isPacked: Bool
    let size: Int
    /// Its kick as the host gave it; another one means another queue.
    let kick: SharedDescriptor?
    let reactor: Reactor
    let counters: QueueCounters
    /// Of the state whose log it marks by. The controller's.
    var logGeneration: UInt64
    private var poller: (any BlockPoller)?
    private var id: PollerID?

    /// How it reaches host memory.
    enum Memory: Sendable {
        case mapped(HostMemory)
        case remote(MirroredQueue.Place, lease: UInt64)
    }

    /// What a queue is made of.
    struct Plan: Sendable {
        var setup: VirtqueueSetup
        var memory: Memory
        /// In-flight area and the mapping that keeps it.
        var log: SharedBytes?
        var logOwner: Mapping?
        var configuration: BlockQueue.Configuration
        var device: BlockDevice?
        /// How its writes are marked, and the state that says so.
        var dirty: DirtyMarks?
        var logGeneration: UInt64 = 0
        var kick: SharedDescriptor?
        var call: SharedDescriptor?
        /// Where its last answer is noted, and the pause that its first one ends.
        var lastAnswer: SharedBytes?
        var pause: PauseWatch?
    }

    private let logOwner: Mapping?

    private init(
        index: Int, run: UInt64, epoch: UInt64, plan: Plan, reactor: Reactor,
        counters: QueueCounters
    ) {
        self.index = index
        self.run = run
        self.epoch = epoch
        self.reactor = reactor
        self.counters = counters
        isPacked = plan.setup.isPacked
        size = plan.setup.size
        kick = plan.kick
        logGeneration = plan.logGeneration
        logOwner = plan.logOwner
    }

    /// Starts the queue. The driver is interrupted once: whatever it missed, it looks again.
    static func start(
        index: Int, run: UInt64, epoch: UInt64, plan: Plan, on reactor: Reactor,
        counters: QueueCounters, onFault: @escaping @Sendable (QueueFault) -> Void,
        onLoss: @escaping @Sendable () -> Void
    ) async throws(ControllerError) -> RunningQueue {
        let queue = RunningQueue(
            index: index, run: run, epoch: epoch, plan: plan, reactor: reactor, counters: counters)
        let failure: String? = await reactor.run { context in
            do {
                try queue.open(plan, context, onFault: onFault, onLoss: onLoss)
                return nil
            } catch let fault as QueueFault {
                return fault.text
            } catch { return "\(error)" }
        }
        if let failure { throw ControllerError(ErrorNumber.inputOutput, failure) }
        return queue
    }

    private func open(
        _ plan: Plan, _ context: ReactorContext, onFault: @escaping (QueueFault) -> Void,
        onLoss: @escaping () -> Void
    ) throws {
        let channel = try plan.device?.openChannel(
            depth: plan.setup.size, at: context.channelSite)
        switch plan.memory {
        case .mapped(let memory):
            try open(plan, memory, channel, context, onFault: onFault)
        case .remote(let place, let lease):
            let poller = try MirrorPoller(
                plan, at: place, lease: lease, index: index, channel, counters, context,
                onFault: onFault, onLoss: onLoss)
            id = try context.add(poller)
            self.poller = poller
        }
    }

    private func open(
        _ plan: Plan, _ memory: HostMemory, _ channel: BlockChannel?, _ context: ReactorContext,
        onFault: @escaping (QueueFault) -> Void
    ) throws {
        let line = CallLine(plan.call, gate: reactor.signals)
        let queue = try BlockQueue(
            plan.setup, memory: memory, log: plan.log, configuration: plan.configuration,
            channel: channel, interrupt: line, counters: counters, dirty: plan.dirty)
        let mark = AnswerMark(
            plan.lastAnswer, completedCount: counters.completedCount, pause: plan.pause)
        let poller = QueuePoller(
            queue, line: line, kick: plan.kick, mark: mark, onFault: onFault)
        id = try context.add(poller)
        self.poller = poller
        poller.queue.disableKicks()
        poller.queue.interruptAnyway()
    }

    /// Takes nothing more.
    /// - Parameter discarding: the driver has taken its rings back; nothing is answered.
    func stop(discarding: Bool) async {
        await reactor.run { [self] context in
            guard let poller, let id else { return }
            if discarding { poller.discard() } else { poller.drain() }
            context.wake(id)
        }
    }

    /// Takes nothing more, and calls `done` when what is under way has been answered.
    func drain(_ done: @escaping @Sendable () -> Void) {
        reactor.post { [self] context in
            guard let poller, let id else { return done() }
            poller.drain()
            poller.whenDrained(done)
            context.wake(id)
        }
    }

    /// Waits until what is under way has ended. False: `limit` passed first.
    func drained(within limit: Duration?) async -> Bool {
        let end = OneShot<Bool>()
        reactor.post { [self] _ in
            guard let poller else { return end.arrive(true) }
            poller.whenDrained { end.arrive(true) }
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

    /// Ends what waits for something other than a device.
    func abandonHeld() async {
        await reactor.run { [self] context in
            guard let poller, let id else { return }
            poller.abandonHeld()
            context.wake(id)
        }
    }

    /// Takes requests again.
    func resume() async {
        await reactor.run { [self] context in
            guard let poller, let id else { return }
            poller.resume()
            context.wake(id)
        }
    }

    /// Ends a quiesced queue and gives its channel back.
    /// - Returns: where its successor goes on.
    func close() async -> VirtqueuePosition? {
        await reactor.run { [self] context in
            if let id { context.remove(id) }
            let position = poller?.position
            poller?.end()
            poller = nil
            id = nil
            return position
        }
    }

    /// Whether host memory can no longer be reached, and nothing is under way.
    func isLost() async -> Bool {
        await reactor.run { [self] _ in poller?.isLost ?? false }
    }

    /// Requests under way.
    func outstanding() async -> Int {
        await reactor.run { [self] _ in poller?.outstanding ?? 0 }
    }

    /// Positions for the debug statistics: ring and own.
    func position() async -> VirtqueuePosition? {
        await reactor.run { [self] _ in poller?.position }
    }

    func setShape(_ shape: BlockShape) async {
        await reactor.run { [self] _ in poller?.setShape(shape) }
    }

    /// Gives a drained queue another block device.
    func attach(
        _ device: BlockDevice?, shape: BlockShape, serial: String
    ) async throws(ControllerError) {
        let failure: String? = await reactor.run { [self] context in
            guard let poller else { return nil }
            do {
                let channel = try device?.openChannel(
                    depth: poller.size, at: context.channelSite)
                poller.attach(
                    channel, shape: shape, identifier: Array(serial.utf8))
                return nil
            } catch { return "\(error)" }
        }
        if let failure { throw ControllerError(ErrorNumber.inputOutput, failure) }
    }

    /// Marks by `marks` from now on.
    func setDirtyMarks(_ marks: DirtyMarks?) async {
        await reactor.run { [self] _ in poller?.setDirtyMarks(marks) }
    }

    /// Exchanges the interrupt, and raises the new one once.
    func exchangeCall(_ call: SharedDescriptor?) async {
        await reactor.run { [self] _ in
            poller?.exchange(call: call)
        }
    }
}
