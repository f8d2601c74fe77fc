internal import Hardware
internal import Logging
internal import NVMe
internal import Platform

/// Live update: one service stops at a point where everything is in function memory, the hardware
/// moves the lease, and the other service adopts the running controller as after a crash.
extension NVMeController {
    nonisolated var name: String { options.name }
    nonisolated var functionPort: any FunctionPort { port }
    nonisolated var listenerPatience: Duration? { options.listenerPatience }
    nonisolated var eventsSuspendedText: String { "has its admin queue suspended" }

    // --- the source ---

    /// Drains within `limit` and gives the function to the controller that stands by. Without one,
    /// or when it is refused, this one goes on serving.
    public func handOver(within limit: Duration?, force: Bool) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try checkNotHandedOver()
        try await requireListener()
        guard await store() else { throw ControllerError.outOfReach }
        try step(.handOver)
        let start = Clock.monotonicNanoseconds()
        try await stop(within: limit, force: force)
        let drained = Clock.monotonicNanoseconds()
        CrashPoint.handOverHalted.reached()
        let successor: String?
        var refusal: ControllerError?
        do {
            successor = try await port.handOver(offering: false)
        } catch {
            successor = nil
            refusal = ControllerError(error)
            if error.code == ErrorNumber.noDevice {
                // Nobody knows who has the lease until the hardware is there again.
                isDetached = true
                await endQueues()
                try step(.abandonSuspend)
                throw refusal ?? noListener
            }
        }
        guard let successor else {
            try await goOn()
            throw refusal ?? noListener
        }
        CrashPoint.handOverGiven.reached()
        let times = [drained - start, Clock.monotonicNanoseconds() - drained].map { $0 / 1000 }
        await endQueues()
        try step(.handedOver)
        log.notice(
            "event=handed_over controller=\(options.name) to=\(successor) microseconds=\(times)")
    }

    private func requireListener() async throws(ControllerError) {
        do {
            if try await port.listener() != nil { return }
        } catch { throw ControllerError(error) }
        throw noListener
    }

    private var noListener: ControllerError {
        ControllerError(
            ErrorNumber.noDevice,
            "live_update_notifier: no listener waits for function \(identity.vuid); create its "
                + "controller in the other service with live_update_listener first; controller "
                + "\"\(options.name)\" goes on serving")
    }

    /// Takes its own halted controller up again, as a successor would.
    private func goOn() async throws(ControllerError) {
        let wasReady = admin != nil
        await endQueues()
        try step(.abandonSuspend)
        guard var latest, wasReady, state != .suspended(eventsOnly: false) else { return }
        // The state may be older than our own acknowledgement.
        latest.status |= Registers.ready
        await startController(latest)
        if state == .suspended(eventsOnly: true) { await admin?.stop(discarding: false) }
    }

    /// The lease is over, and not because we gave it back.
    func leaseEnded() async {
        await enterTurnstile()
        defer { turnstile.leave() }
        firstLook.arrive(())
        guard state == .standby else { return }
        log.error("event=standby_lost controller=\(options.name)")
        try? step(.expired)
    }

    // --- the destination ---

    /// Ends the wait of a listener, if it still waits. EBUSY: the function is its own, or may be.
    public func standDown() async throws(ControllerError) { try await endStandby() }

    /// The function's state while it is another service's: what can be prepared is, and nothing
    /// of the host's is touched. When it is ours, serves it at once.
    func standBy(_ new: NVMeFunctionState) async {
        guard case .serving(let holders) = new.standing else {
            prepareMemory(new)
            return await reportReadiness()
        }
        let start = Clock.monotonicNanoseconds()
        deadline?.cancel()
        guard (try? step(.takeOver)) != nil else { return }
        CrashPoint.takeOverBegun.reached()
        predecessors = holders
        arrival = holders.isEmpty ? .handover : .recovery
        for entry in attached.values { await waitForPredecessors(at: entry.device) }
        if port.isFar {
            // Keys come with the lease, and only then the records can be read.
            if let way = try? HostAccess.Way.remote(by: new.remote, isNeeded: true) {
                hostMemory = HostAccess(generation: new.memoryGeneration, way: way)
                lossCount = new.lossCount
            }
            _ = await readRecords()
        }
        let missing = missingNamespaces(new)
        if missing.isEmpty {
            try? step(.resumed)
        } else {
            // Its driver would be told that they are gone.
            try? step(.suspended)
            let list = missing.map(String.init).joined(separator: ",")
            // Cure: attach them, then resume.
            log.error(
                "event=takeover_waits controller=\(options.name) missing_namespaces=\(list)")
        }
        await reconcile(new)
        CrashPoint.takeOverDone.reached()
        let time = (Clock.monotonicNanoseconds() - start) / 1000
        log.notice("event=taken_over controller=\(options.name) microseconds=\(time)")
    }

    /// Lets the source know whether its driver would miss a namespace.
    func reportReadiness() async {
        guard state == .standby, let latest else { return }
        let missing = missingNamespaces(latest).map(String.init).joined(separator: ", ")
        await port.setObstacle(
            missing.isEmpty ? nil : "namespaces \(missing) are not attached to it")
    }

    private func prepareMemory(_ new: NVMeFunctionState) {
        // Keys come with the lease.
        guard group.dataPath == .mapped, hostMemory?.generation != new.memoryGeneration,
            let memory = try? memoryMap.map(new.memory, generation: new.memoryGeneration)
        else { return }
        hostMemory = HostAccess(generation: new.memoryGeneration, way: .mapped(memory))
    }

    /// Namespaces that a running driver knows and that are not attached here.
    private func missingNamespaces(_ state: NVMeFunctionState) -> [UInt32] {
        guard Registers.isEnabled(state.configuration), state.status & Registers.ready != 0,
            let record = journal.loadControllerRecord()
        else { return [] }
        return ControllerModel.namespaces(in: record).filter { attached[$0] == nil }
    }
}
