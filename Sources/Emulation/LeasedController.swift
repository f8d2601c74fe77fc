internal import Hardware
internal import Logging
internal import Platform

/// What controllers of either protocol have in common: the lease of a function, a state that one
/// operation at a time changes, and the wait of a live update for another service.
protocol LeasedController: Turnstiled {
    nonisolated var name: String { get }
    nonisolated var identity: FunctionIdentity { get }
    nonisolated var functionPort: any FunctionPort { get }
    nonisolated var pauses: PauseHistograms { get }
    nonisolated var log: Logger { get }
    /// How long it waits as a listener; nil for ever.
    nonisolated var listenerPatience: Duration? { get }
    /// What `.suspended(eventsOnly: true)` is called where its operators look.
    nonisolated var eventsSuspendedText: String { get }
    var state: ControllerState { get set }
    /// Ends a wait for another service.
    var deadline: Task<Void, Never>? { get set }
}

extension LeasedController {
    /// Takes one legal step, or refuses by naming the state.
    func step(_ event: ControllerState.Event) throws(ControllerError) {
        guard let next = state.after(event) else {
            throw ControllerError(
                ErrorNumber.busy,
                "controller \"\(name)\" is \(state.situation); it cannot \(event.rawValue) now")
        }
        state = next
    }

    // --- live update ---

    func checkNotHandedOver() throws(ControllerError) {
        if state == .handedOver {
            throw ControllerError(
                ErrorNumber.invalid,
                "controller \"\(name)\" was handed over to controller "
                    + "\"\(functionPort.successor ?? "?")\" of another service; destroy it here")
        }
    }

    /// EBUSY in the middle of a live update.
    func checkNoLiveUpdate() throws(ControllerError) {
        guard state.liveUpdate != nil else { return }
        let situation =
            state == .suspended(eventsOnly: true)
            ? eventsSuspendedText : "is \(state.situation)"
        throw ControllerError(
            ErrorNumber.busy,
            "controller \"\(name)\" \(situation); end its live update, then modify it")
    }

    /// Ends the wait of a listener when nobody hands the function over in time.
    func watchStandby() {
        guard let patience = listenerPatience else { return }
        deadline = Task { [weak self] in
            try? await Task.sleep(for: patience)
            if !Task.isCancelled { await self?.standbyExpired() }
        }
    }

    private func standbyExpired() async {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard await stopsStandingBy() else { return }
        log.warning("event=listener_expired controller=\(name) function=\(identity.vuid)")
    }

    /// Ends the wait of a listener, if it still waits. EBUSY: the function is its own, or may be.
    func endStandby() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        if state == .expired || state == .closed { return }
        guard await stopsStandingBy() else {
            throw ControllerError(
                ErrorNumber.busy,
                "if_listener: controller \"\(name)\" is no listener that waits; it stays")
        }
        deadline?.cancel()
    }

    private func stopsStandingBy() async -> Bool {
        guard state == .standby, (try? await functionPort.stopStandingBy()) == true else {
            return false
        }
        try? step(.expired)
        return true
    }

    // --- pauses ---

    /// Measures how long the driver got no answer, once after the function came here.
    /// - Parameter lastAnswer: of any of its queues, in ticks; 0 when none was given.
    func pauseWatch(_ kind: PauseKind, since lastAnswer: UInt64) -> PauseWatch? {
        if lastAnswer == 0 { return nil }
        let (vuid, name, pauses, log) = (identity.vuid, name, pauses, log)
        return PauseWatch(since: Ticks(lastAnswer)) { nanoseconds in
            Task {
                let time = nanoseconds / 1000
                pauses.add(vuid, kind, microseconds: time)
                log.notice("event=pause controller=\(name) kind=\(kind) microseconds=\(time)")
            }
        }
    }
}
