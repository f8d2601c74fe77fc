internal import Bdev
public import Hardware
internal import Logging
internal import Memory
internal import Platform
internal import VirtioBlk

/// One virtio-blk controller: it holds the lease of a function, runs its queues on reactors and
/// keeps them in step with what the host has set up.
///
///     opening ──▶ running ◀──▶ suspending ──▶ suspended ──▶ resuming ──▶ running
///                    │                            │
///                    └─────────▶ closing ◀────────┘ ──▶ closed
///
/// A refused `suspending` or `closing` leads back to where it came from. A live update has states
/// of its own: `suspending ──▶ offered ──▶ handedOver` in one service, `standby ──▶ running` in
/// the other (`VirtioBlkController+HandOver.swift`).
///
/// The host's wishes arrive as whole states; `reconcile` compares the latest with what runs. One
/// operation at a time goes through the turnstile; state names what is under way.
public actor VirtioBlkController: LeasedController {
    /// How long a stop waits for the backend before held requests are given up.
    static let drainLimit = Duration.seconds(10)

    public nonisolated let options: VirtioBlkOptions
    public nonisolated let identity: FunctionIdentity
    public nonisolated let hostSocketPath: String
    let port: any VirtioFunctionPort
    let group: ReactorGroup
    let memoryMap: HostMemoryMap
    let functionMemory: FunctionMemory
    let pauses: PauseHistograms
    let log: Logger

    public internal(set) var state = ControllerState.opening
    var turnstile = Turnstile()
    var latest: VirtioFunctionState?
    var hostMemory: HostAccess?
    /// The log of dirty pages, mapped, and the state that it is of.
    var dirtyLog: (generation: UInt64, log: DirtyLog)?
    var queues: [Int: RunningQueue] = [:]
    /// Where ended queues stopped, and in which life of their ring.
    var resumePositions: [Int: (run: UInt64, position: VirtqueuePosition)] = [:]
    /// Lives of rings that have failed: not started again.
    var failedRuns: [Int: UInt64] = [:]
    /// The interrupt that each running queue has.
    var calls: [Int: SharedDescriptor] = [:]
    /// By queue; they outlive the queue's runs.
    var counters: [QueueCounters]
    var use: BlockDeviceUse?
    public internal(set) var serial: String
    var listener: Task<Void, Never>?
    /// How the function came here, until its first queues are taken over.
    var arrival: PauseKind?
    /// Whether the bdev has another size than a listener has offered.
    var isResized = false
    /// Ends a wait for another service.
    var deadline: Task<Void, Never>?
    private var linkListener: Task<Void, Never>?
    /// Whether the hardware cannot be reached: nothing runs meanwhile.
    var isDetached = false

    init(
        options: VirtioBlkOptions, port: any VirtioFunctionPort, group: ReactorGroup,
        memoryMap: HostMemoryMap, pauses: PauseHistograms, log: Logger
    ) throws(HardwareError) {
        self.options = options
        identity = port.identity
        hostSocketPath = port.hostSocketPath
        self.port = port
        self.group = group
        self.memoryMap = memoryMap
        self.pauses = pauses
        self.log = log
        serial = options.serial
        functionMemory = try FunctionMemory(adopting: port.functionMemory)
        counters = (0..<options.queueCount).map { _ in QueueCounters() }
    }

    // --- life ---

    /// Takes the block device, waits for predecessors, and follows the host from then on.
    func start(_ device: BlockDevice?) async throws(ControllerError) {
        if let device { try take(device) }
        if port.startsAsStandby {
            try step(.standBy)
            watchStandby()
        } else {
            await waitForPredecessors(port.predecessors)
            arrival = port.predecessors.isEmpty ? .reattach : .recovery
            try step(options.startsSuspended ? .suspended : .opened)
        }
        listener = Task { [port, weak self] in
            for await state in port.states {
                guard let self else { return }
                await self.follow(state)
            }
            await self?.leaseEnded()
        }
        linkListener = Task { [port, weak self] in
            for await change in port.linkChanges {
                guard let self else { return }
                await self.follow(change)
            }
        }
    }

    /// Nothing of an old holder may still reach host memory or storage (design, "Predecessor
    /// rule").
    func waitForPredecessors(_ holders: [UInt64]) async {
        guard let backend = use?.device.backend else { return }
        for holder in holders where (try? backend.isHeld(by: holder)) == true {
            log.notice("event=waiting_for_predecessor controller=\(options.name)")
            while (try? backend.isHeld(by: holder)) == true {
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    func take(_ device: BlockDevice) throws(ControllerError) {
        do {
            use = try device.open(for: "virtio-blk controller \"\(options.name)\"") {
                [weak self] event in
                Task { await self?.deviceChanged(event) }
            }
            try device.backend.hold(for: port.holder)
        } catch let error as BdevError {
            throw ControllerError(error)
        } catch {
            use?.close()
            use = nil
            throw ControllerError(
                ErrorNumber.inputOutput, "bdev \"\(device.name)\" cannot be locked: \(error)")
        }
    }

    /// Stops serving and gives the function back. Fails at the deadline, still serving, when the
    /// backend does not end what is under way.
    ///
    /// - Parameter force: also a VF while the host has SR-IOV enabled. Nil, for a service that
    ///   ends, asks nobody.
    public func close(
        force: Bool? = false, releasesVectors: Bool = false,
        within limit: Duration = .seconds(10)
    ) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        if state == .closed, isDetached { return }
        try step(.close)
        if case .closing(let resting) = state, !resting.holdsLease {
            // The function is another service's: nothing of it is touched.
            try refuseRelease(releasesVectors)
            if resting == .standby { await port.close(releasesVectors: false) }
            return try finishClose()
        }
        if let force { try await askForClose(force: force) }
        guard await drain(within: limit) else {
            if state != .closing(from: .suspended(eventsOnly: false)) { await resumeQueues() }
            try step(.abandonClose)
            throw ControllerError(
                ErrorNumber.busy,
                "bdev \"\(use?.device.name ?? "none")\" did not end the requests of controller "
                    + "\"\(options.name)\" in \(limit); it goes on serving")
        }
        let bases = await endQueues(Array(queues.values))
        if let latest { port.acknowledge(generation: latest.generation, bases: bases) }
        CrashPoint.destroyDrained.reached()
        await port.close(releasesVectors: releasesVectors)
        CrashPoint.destroyReleased.reached()
        try finishClose()
    }

    /// Vectors belong to whoever has the function.
    private func refuseRelease(_ releasesVectors: Bool) throws(ControllerError) {
        if !releasesVectors { return }
        try step(.abandonClose)
        throw ControllerError(
            ErrorNumber.invalid,
            "release_msix: controller \"\(options.name)\" is \(state.situation); the vectors of "
                + "\(identity.vuid) are not its own, so destroy it without release_msix")
    }

    private func finishClose() throws(ControllerError) {
        listener?.cancel()
        deadline?.cancel()
        linkListener?.cancel()
        use?.close()
        use = nil
        try step(.closed)
    }

    /// A refusal leaves the controller as it was. A function that is gone has nobody to refuse.
    private func askForClose(force: Bool) async throws(ControllerError) {
        do {
            try await port.checkClose(force: force)
        } catch  where error.code != ErrorNumber.noDevice {
            try step(.abandonClose)
            throw ControllerError(error)
        } catch {}
    }
}
