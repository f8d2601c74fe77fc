internal import JSONRPC

/// Moves one function from one service to another, by the documented calls.
struct Mover {
    private let source: any ServiceConnection
    private let destination: any ServiceConnection
    private let timeoutMilliseconds: UInt64
    /// How often a function is offered to the source again, 20 ms apart: a service that has just
    /// died holds its leases for a moment.
    private static let putBackLimit = 250

    init(
        from source: any ServiceConnection, to destination: any ServiceConnection,
        timeoutMilliseconds: UInt64
    ) {
        self.source = source
        self.destination = destination
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// - Returns: the pause that its driver saw, in microseconds; nil when it had no request.
    /// An error leaves the function with the source, which serves it, unless it says otherwise
    /// (`left`).
    func move(_ move: UpgradePlan.Move) async throws(UpgradeError) -> UInt64? {
        let before = try await pauses(of: move.controller)
        switch move.way {
        case .handOver: try await handOver(move)
        case .recreate: try await recreate(move.controller)
        }
        // The driver's next answer ends the pause; an idle one has none.
        for _ in 0..<5 {
            let after = try await pauses(of: move.controller)
            let grown = after.first { $0.value.count > before[$0.key]?.count ?? 0 }
            if let grown { return grown.value.last }
            try? await Task.sleep(for: .milliseconds(2))
        }
        return nil
    }

    private func name(_ controller: ControllerPicture) -> JSONObject {
        ["ctrl_id": .string(controller.name)]
    }

    // --- listener and notifier ---

    private func handOver(_ move: UpgradePlan.Move) async throws(UpgradeError) {
        let controller = move.controller
        do throws(UpgradeError) {
            if controller.part == nil { try await holdBack(controller) }
            if !move.hasListener {
                try await create(
                    controller, with: ["suspended": true, "live_update_listener": true])
            }
            try await attach(controller, hasSome: move.hasListener)
            var notify = name(controller)
            notify.append("live_update_notifier", true)
            notify.append("timeout_ms", JSONValue(timeoutMilliseconds))
            _ = try await source.call(controller.method("suspend"), notify)
            try await awaitTakeOver(controller)
        } catch {
            if await !callOff(controller) { throw error }
        }
    }

    /// Phase one: what the host sets up waits, I/O goes on.
    private func holdBack(_ controller: ControllerPicture) async throws(UpgradeError) {
        var params = name(controller)
        params.append(controller.family == .nvme ? "admin_only" : "events_only", true)
        _ = try await source.call(controller.method("suspend"), params)
    }

    private func create(
        _ controller: ControllerPicture, with more: JSONObject
    ) async throws(UpgradeError) {
        var params = controller.creation.params
        // A VF in use keeps the vectors that it has.
        params["vf_num_msix"] = nil
        for member in more.members { params[member.key] = member.value }
        _ = try await destination.call(controller.method("create"), params)
    }

    /// - Parameter hasSome: an earlier run may have attached some of its namespaces.
    private func attach(
        _ controller: ControllerPicture, hasSome: Bool
    ) async throws(UpgradeError) {
        var present: [ConfigurationCall] = []
        if hasSome {
            let there = try await ServicePicture.read(destination)
            present = there.controller(on: controller.vuid)?.attachments ?? []
        }
        for call in controller.attachments where !present.contains(call) {
            try await destination.perform(call)
        }
    }

    private func awaitTakeOver(_ controller: ControllerPicture) async throws(UpgradeError) {
        for _ in 0..<500 {
            let listed = try await destination.call(
                controller.method("list"), name(controller))
            let entry = listed.array?.first
            if entry?["state"] == "STARTED", entry?["live_update"] == nil { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
        throw UpgradeError(
            "function \(controller.vuid) did not start at \(destination.name) in 5 s")
    }

    /// The source goes on, whatever had been done, unless it has died and the listener serves.
    /// - Returns: whether the function is at the destination.
    private func callOff(_ controller: ControllerPicture) async -> Bool {
        try? await destination.destroy(controller, ifListener: true)
        let listed = try? await destination.call(controller.method("list"), name(controller))
        if let entry = listed?.array?.first, entry["live_update"] == nil {
            if entry["state"] == "STARTED" { return true }
            if (try? await complete(controller)) != nil { return true }
        }
        _ = try? await source.call(controller.method("resume"), name(controller))
        return false
    }

    /// The listener has the function, and waits for namespaces that its driver knows.
    private func complete(_ controller: ControllerPicture) async throws(UpgradeError) {
        try await attach(controller, hasSome: true)
        _ = try await destination.call(controller.method("resume"), name(controller))
    }

    // --- destroy and create ---

    private func recreate(_ controller: ControllerPicture) async throws(UpgradeError) {
        let isSuspended = controller.state == "SUSPENDED"
        // A destroy drains too. A suspension of ours could not be told from the operator's by a
        // later run, if the source died just then.
        try await source.destroy(controller)
        do throws(UpgradeError) {
            try await build(controller, at: destination, suspended: isSuspended)
        } catch {
            do throws(UpgradeError) {
                try await putBack(controller, suspended: isSuspended)
            } catch let second {
                throw UpgradeError(
                    error.description,
                    left: "function \(controller.vuid) is not at \(source.name) again "
                        + "(\(controller.creation.text)): \(second)")
            }
            throw error
        }
    }

    /// Whatever the destination had made of it goes, and the source has it again.
    private func putBack(
        _ controller: ControllerPicture, suspended: Bool
    ) async throws(UpgradeError) {
        for attempt in 1...Self.putBackLimit {
            let listed = try? await destination.call(controller.method("list"), name(controller))
            if listed?.array?.isEmpty == false {
                try? await destination.destroy(controller)
            }
            do throws(UpgradeError) {
                try await source.perform(creation(of: controller, suspended: suspended))
                break
            } catch {
                if attempt == Self.putBackLimit { throw error }
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        try await furnish(controller, at: source, suspended: suspended)
    }

    private func build(
        _ controller: ControllerPicture, at service: any ServiceConnection, suspended: Bool
    ) async throws(UpgradeError) {
        try await service.perform(creation(of: controller, suspended: suspended))
        try await furnish(controller, at: service, suspended: suspended)
    }

    private func creation(of controller: ControllerPicture, suspended: Bool) -> ConfigurationCall {
        var creation = controller.creation
        if suspended || controller.family == .nvme { creation.params["suspended"] = true }
        return creation
    }

    /// What makes a created controller serve as it did.
    private func furnish(
        _ controller: ControllerPicture, at service: any ServiceConnection, suspended: Bool
    ) async throws(UpgradeError) {
        for call in controller.attachments { try await service.perform(call) }
        if controller.family == .nvme && !suspended {
            _ = try await service.call(controller.method("resume"), name(controller))
        }
    }

    // --- the pause ---

    /// By kind, those that the destination has measured.
    private func pauses(
        of controller: ControllerPicture
    ) async throws(UpgradeError) -> [String: (count: UInt64, last: UInt64)] {
        let listed = try await destination.call(
            "softsnap_gap_histogram_get", ["vuid": .string(controller.vuid)])
        var pauses: [String: (count: UInt64, last: UInt64)] = [:]
        for entry in listed.array ?? [] {
            guard let kind = entry["kind"]?.string, let count = entry["count"]?.unsigned,
                let last = entry["last_us"]?.unsigned
            else { continue }
            pauses[kind] = (count, last)
        }
        return pauses
    }
}
