internal import Bdev
public import Hardware
internal import Logging
internal import Memory
internal import NVMe
internal import Platform

/// One NVMe controller: it holds the lease of a function, answers its admin commands, runs its
/// queues on reactors and keeps them in step with what the host has set up.
///
/// Its states are those of a virtio-blk controller. The host's wishes arrive as whole states;
/// `reconcile` compares the latest with what runs. Admin commands arrive one by one from the admin
/// queue's reactor. One operation at a time goes through the turnstile.
public actor NVMeController: LeasedController {
    /// How long a stop waits for the backend before held commands are given up.
    static let drainLimit = Duration.seconds(10)

    public nonisolated let options: NVMeOptions
    public nonisolated let identity: FunctionIdentity
    public nonisolated let hostSocketPath: String
    public nonisolated let subsystem: NVMeSubsystem
    let port: any NVMeFunctionPort
    let group: ReactorGroup
    let memoryMap: HostMemoryMap
    let journal: NVMeMemory
    let doorbells: Mapping
    let pauses: PauseHistograms
    let log: Logger

    public internal(set) var state = ControllerState.opening
    var turnstile = Turnstile()
    var latest: NVMeFunctionState?
    var hostMemory: HostAccess?
    var model: ControllerModel
    /// What is written of it to function memory.
    var records: OutcomeRecord
    /// Nil while the controller is disabled, or cannot be served.
    var admin: RunningAdminQueue?
    /// By completion queue.
    var queues: [UInt16: RunningIOQueue] = [:]
    /// Epoch of what runs.
    var epoch: UInt64 = 0
    /// Lives of the controller, as far as this service has seen.
    var runCount: UInt64 = 0
    /// Whether the enabled controller cannot go on until its reset.
    var hasFailed = false
    /// Whether the hardware cannot be reached: nothing runs meanwhile.
    var isDetached = false
    /// Whether function memory of another machine is to be taken up anew.
    var isOutOfReach = false
    /// Of the link that `hostMemory` came by.
    var lossCount = 0
    var attached: [UInt32: AttachedNamespace] = [:]
    /// Interrupts by vector.
    var vectors: [SharedDescriptor?] = []
    /// By queue, the admin queue's first; they outlive the queues.
    let counters: [QueueCounters]
    /// Holders before this one whose requests may still be under way.
    var predecessors: [UInt64] = []
    var tasks: [Task<Void, Never>] = []
    /// How the function came here, until its running driver is taken up.
    var arrival: PauseKind?
    /// Ends a wait for another service.
    var deadline: Task<Void, Never>?
    /// A listener has seen the function, or never will.
    let firstLook = OneShot<Void>()
    private let commands: AsyncStream<(run: UInt64, command: AdminCommand)>
    let commandFeed: AsyncStream<(run: UInt64, command: AdminCommand)>.Continuation

    /// A namespace that the host sees through this controller.
    struct AttachedNamespace {
        var namespace: NVMeNamespace
        var facts: NamespaceFacts
        var device: BlockDevice
    }

    init(
        options: NVMeOptions, subsystem: NVMeSubsystem, controllerID: UInt16,
        port: any NVMeFunctionPort, group: ReactorGroup, memoryMap: HostMemoryMap,
        memoryVersion: Int, pauses: PauseHistograms, log: Logger
    ) throws(ControllerError) {
        self.options = options
        self.subsystem = subsystem
        identity = port.identity
        hostSocketPath = port.hostSocketPath
        self.port = port
        self.group = group
        self.memoryMap = memoryMap
        self.pauses = pauses
        self.log = log
        do {
            journal = try NVMeMemory(
                adopting: Mapping(
                    port.functionMemory.number, byteCount: options.offer.memoryByteCount),
                queueCount: options.queueCount + 1, wanting: memoryVersion, isFar: port.isFar)
            records = OutcomeRecord(journal)
            doorbells = try Mapping(
                port.doorbells.number, byteCount: DoorbellPage.fileByteCount)
        } catch let error as NVMeMemoryError {
            throw ControllerError(ErrorNumber.invalid, "function \(identity.vuid): \(error.text)")
        } catch {
            throw ControllerError(
                ErrorNumber.noMemory, "function memory of \(identity.vuid): \(error)")
        }
        model = ControllerModel(
            Self.configuration(
                options, subsystem, controllerID, port.identity, group.dataPath))
        counters = (0...options.queueCount).map { _ in QueueCounters() }
        (commands, commandFeed) = AsyncStream.makeStream()
    }

    private static func configuration(
        _ options: NVMeOptions, _ subsystem: NVMeSubsystem, _ controllerID: UInt16,
        _ identity: FunctionIdentity, _ dataPath: DataPath
    ) -> ControllerModel.Configuration {
        var configuration = ControllerModel.Configuration(
            subsystemNQN: subsystem.nqn, serialNumber: subsystem.serialNumber,
            modelNumber: subsystem.modelNumber, controllerID: controllerID,
            vendorID: identity.vendorID, subsystemVendorID: identity.subsystemVendorID,
            namespaceLimit: subsystem.namespaceLimit,
            namespaceCountLimit: subsystem.namespaceCountLimit,
            isSingleController: subsystem.isSingleController, queueCount: options.queueCount,
            queueSize: options.queueSize, vectorCount: identity.vectorCount,
            mdts: UInt8(options.mdts), firmwareSlotCount: UInt8(options.firmwareSlotCount))
        configuration.offersWriteZeroes = options.offersWriteZeroes
        configuration.offersCompare = options.offersCompare
        // A mirrored queue refuses fused commands.
        configuration.offersCompareAndWrite =
            options.offersCompareAndWrite && dataPath == .mapped
        configuration.offersDeallocate = options.offersDeallocate
        return configuration
    }

    // --- life ---

    /// Follows the host from now on. A listener has looked at its function when this returns.
    func start() async throws(ControllerError) {
        if port.startsAsStandby {
            try step(.standBy)
            watchStandby()
        } else {
            predecessors = port.predecessors
            arrival = predecessors.isEmpty ? .reattach : .recovery
            try step(options.startsSuspended ? .suspended : .opened)
        }
        tasks.append(
            Task { [port, weak self] in
                for await state in port.states {
                    guard let self else { return }
                    await self.follow(state)
                }
                await self?.leaseEnded()
            })
        tasks.append(
            Task { [port, weak self] in
                for await change in port.linkChanges {
                    guard let self else { return }
                    await self.follow(change)
                }
            })
        tasks.append(
            Task { [commands, weak self] in
                for await (run, command) in commands {
                    guard let self else { return }
                    await self.perform(command, run: run)
                }
            })
        if port.startsAsStandby { await firstLook.value() }
    }

    /// Stops serving and gives the function back. Fails at the deadline, still serving, when the
    /// backend does not end what is under way.
    ///
    /// - Parameter force: also with namespaces attached, and a VF while the host has SR-IOV
    ///   enabled. Nil, for a service that ends, asks nobody.
    func close(
        force: Bool?, releasesVectors: Bool = false, within limit: Duration = .seconds(10)
    ) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        if state == .closed, isDetached { return }
        try step(.close)
        if case .closing(let resting) = state, !resting.holdsLease {
            return try await closeWithoutLease(
                resting, force: force, releasesVectors: releasesVectors)
        }
        if let force {
            do throws(ControllerError) {
                try checkDetached(force: force)
                try await askForClose(force: force)
            } catch {
                try step(.abandonClose)
                throw error
            }
        }
        guard await drain(within: limit) else {
            if state != .closing(from: .suspended(eventsOnly: false)) { await resumeQueues() }
            try step(.abandonClose)
            throw ControllerError(
                ErrorNumber.busy,
                "the bdevs of controller \"\(options.name)\" did not end its commands in "
                    + "\(limit); it goes on serving")
        }
        await endQueues()
        CrashPoint.destroyDrained.reached()
        await port.close(releasesVectors: releasesVectors)
        CrashPoint.destroyReleased.reached()
        try finishClose()
    }

    /// The function is another service's: nothing of it is touched.
    private func closeWithoutLease(
        _ resting: ControllerState.Resting, force: Bool?, releasesVectors: Bool
    ) async throws(ControllerError) {
        do throws(ControllerError) {
            try checkDetached(force: force ?? true)
            if releasesVectors { throw notItsVectors(resting) }
        } catch {
            try step(.abandonClose)
            throw error
        }
        if resting == .standby { await port.close(releasesVectors: false) }
        try finishClose()
    }

    private func notItsVectors(_ resting: ControllerState.Resting) -> ControllerError {
        ControllerError(
            ErrorNumber.invalid,
            "release_msix: controller \"\(options.name)\" is \(resting.state.situation); the "
                + "vectors of \(identity.vuid) are not its own, so destroy it without release_msix")
    }

    private func finishClose() throws(ControllerError) {
        for task in tasks { task.cancel() }
        deadline?.cancel()
        commandFeed.finish()
        attached = [:]
        try step(.closed)
    }

    private func checkDetached(force: Bool) throws(ControllerError) {
        if force || attached.isEmpty { return }
        let ids = attached.keys.sorted().map(String.init).joined(separator: ", ")
        throw ControllerError(
            ErrorNumber.busy,
            "controller \"\(options.name)\" has namespaces attached (\(ids)); detach them first, "
                + "or use force")
    }

    /// A function that is gone has nobody to refuse.
    private func askForClose(force: Bool) async throws(ControllerError) {
        do {
            try await port.checkClose(force: force)
        } catch  where error.code != ErrorNumber.noDevice {
            throw ControllerError(error)
        } catch {}
    }
}
