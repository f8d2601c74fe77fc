internal import Bdev
internal import Hardware
internal import Logging
internal import Platform
internal import VirtioBlk

/// Live update: one service stops at a point where everything is in function memory or on the
/// rings, the hardware moves the lease, and the other service goes on from there.
extension VirtioBlkController {
    /// A service that was offered a function has so long to take it, whatever was asked: the next
    /// command of a script must have its chance.
    public static let shortestOffer = Duration.seconds(2)

    nonisolated var name: String { options.name }
    nonisolated var functionPort: any FunctionPort { port }
    nonisolated var listenerPatience: Duration? { options.listenerPatience }
    nonisolated var eventsSuspendedText: String { "has its events suspended" }

    // --- the source ---

    /// Drains within `limit` and gives the function to the controller that stands by. When none
    /// does, the function is on offer for `patience`, and the controller goes on serving after it.
    public func handOver(
        within limit: Duration?, offeringFor patience: Duration
    ) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try checkNotHandedOver()
        try step(.handOver)
        let start = Clock.monotonicNanoseconds()
        try await stop(within: limit)
        let drained = Clock.monotonicNanoseconds()
        CrashPoint.handOverHalted.reached()
        let successor: String?
        do {
            successor = try await port.handOver(offering: true)
        } catch {
            _ = await endQueues(Array(queues.values))
            try step(.abandonSuspend)
            if error.code == ErrorNumber.noDevice {
                // Nobody knows who has the lease until the hardware is there again.
                isDetached = true
            } else if let latest, state != .suspended(eventsOnly: false) {
                await startQueues(latest)
            }
            throw ControllerError(error)
        }
        CrashPoint.handOverGiven.reached()
        let times = [drained - start, Clock.monotonicNanoseconds() - drained].map { $0 / 1000 }
        log.notice("event=stopped controller=\(options.name) microseconds=\(times)")
        _ = await endQueues(Array(queues.values))
        if let successor { return try endHandOver(to: successor) }
        try step(.offered)
        deadline = Task { [weak self] in
            try? await Task.sleep(for: max(patience, Self.shortestOffer))
            if !Task.isCancelled { await self?.offerExpired() }
        }
    }

    private func endHandOver(to successor: String) throws(ControllerError) {
        try step(.handedOver)
        log.notice("event=handed_over controller=\(options.name) to=\(successor)")
    }

    private func offerExpired() async {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard state == .offered else { return }
        do {
            try await takeBack()
            log.warning(
                "event=hand_over_abandoned controller=\(options.name) reason=\"nobody took it\"")
        } catch {
            log.notice("event=offer_ended controller=\(options.name) reason=\"\(error)\"")
        }
    }

    /// Goes on serving what nobody has taken.
    func takeBack() async throws(ControllerError) {
        let successor: String?
        do {
            successor = try await port.withdrawOffer()
        } catch { throw ControllerError(error) }
        deadline?.cancel()
        if let successor {
            try endHandOver(to: successor)
            return try checkNotHandedOver()
        }
        try step(.resume)
        try step(.resumed)
        if let latest {
            // Queues that the host has stopped meanwhile: it waits to hear where they stand.
            var bases: [Int: UInt32] = [:]
            let isPacked = latest.driverFeatures & 1 << 34 != 0
            for queue in latest.queues where !queue.isRunning {
                if let stopped = resumePositions[queue.index], stopped.run == queue.run {
                    bases[queue.index] = stopped.position.vringBase(isPacked: isPacked)
                }
            }
            await reconcile(latest, stopped: bases)
        }
    }

    /// The bdev of a controller that does not serve is gone: its driver, who has another, hears
    /// nothing of it.
    /// - Returns: false for one that serves.
    func releaseUnserved() async -> Bool {
        await enterTurnstile()
        defer { turnstile.leave() }
        switch state {
        case .standby:
            await port.setObstacle("its bdev \"\(use?.device.name ?? "none")\" was deleted")
        case .handedOver, .expired: break
        default: return false
        }
        use?.close()
        use = nil
        return true
    }

    /// The lease is over, and not because we gave it back.
    func leaseEnded() async {
        await enterTurnstile()
        defer { turnstile.leave() }
        switch state {
        case .offered:
            guard let successor = port.successor else { return }
            deadline?.cancel()
            try? endHandOver(to: successor)
        case .standby:
            log.error("event=standby_lost controller=\(options.name)")
            try? step(.expired)
        default: return
        }
    }

    // --- the destination ---

    /// Ends the wait of a listener, if it still waits. EBUSY: the function is its own, or may be.
    public func standDown() async throws(ControllerError) { try await endStandby() }

    /// The function's state while it is another service's: what can be prepared is, and nothing
    /// of the host's is touched. When it is ours, serves it at once.
    func standBy(_ new: VirtioFunctionState) async {
        guard case .serving(let predecessors) = new.standing else {
            if hostMemory?.fits(new.memoryGeneration, new.remote) != true { remap(new) }
            return
        }
        let start = Clock.monotonicNanoseconds()
        deadline?.cancel()
        guard (try? step(.takeOver)) != nil else { return }
        CrashPoint.takeOverBegun.reached()
        await waitForPredecessors(predecessors)
        arrival = predecessors.isEmpty ? .handover : .recovery
        if options.bdev != nil, use == nil {
            // Its driver would see errors. Cure: attach a bdev, then resume.
            try? step(.suspended)
            log.error("event=takeover_waits controller=\(options.name) missing_bdev=true")
        } else {
            try? step(.resumed)
        }
        await reconcile(new)
        CrashPoint.takeOverDone.reached()
        if isResized { port.update(configuration: shape.configurationSpace()) }
        let time = (Clock.monotonicNanoseconds() - start) / 1000
        log.notice("event=taken_over controller=\(options.name) microseconds=\(time)")
    }
}
