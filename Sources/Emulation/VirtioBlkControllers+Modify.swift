internal import Bdev
internal import Hardware
internal import Platform

/// Other queues and vectors for a controller that nobody uses.
extension VirtioBlkControllers {
    /// Gives a controller another number of queues, and its function another number of vectors.
    ///
    /// For VFs and for hot-plug PFs that are powered off, while no host is connected. Everything is
    /// checked first, and what fails later is taken back: a refusal changes nothing.
    public func modify(
        _ name: String, queueCount: Int?, vectorCount: Int?
    ) async throws(ControllerError) {
        let controller = try find(name)
        guard changing.insert(name).inserted else {
            throw ControllerError(
                ErrorNumber.busy,
                "controller \"\(name)\" is being modified; wait for the answer to that")
        }
        defer { changing.remove(name) }
        let function = try await FunctionModification.listing(
            of: controller.options.vuid, controller: name, manager)
        var old = await controller.presentOptions
        let vectors = vectorCount ?? function.identity.vectorCount
        var new = old
        new.queueCount = queueCount ?? old.queueCount
        let changesQueues = new.queueCount != old.queueCount
        if !changesQueues, vectors == function.identity.vectorCount { return }
        try FunctionModification.checkUse(
            function, parameter: vectorCount == nil ? "num_queues" : "num_msix")
        try checkNumbers(function, new, vectors)
        if !changesQueues { return try await setVectors(function, vectors) }
        try await controller.checkNoLiveUpdate()
        if function.identity.vfIndex != nil {
            // The lease and its vectors change in one transaction.
            old.vectorCount = function.identity.vectorCount
            new.vectorCount = vectors
            return try await reopen(controller, old, new)
        }
        try await change(controller, function, from: old, to: new, vectors: vectors)
    }

    /// A hot-plug PF: there are never fewer vectors than the queues need.
    private func change(
        _ controller: VirtioBlkController, _ function: FunctionListing,
        from old: VirtioBlkOptions, to new: VirtioBlkOptions, vectors: Int
    ) async throws(ControllerError) {
        let before = function.identity.vectorCount
        if vectors > before { try await setVectors(function, vectors) }
        do {
            try await reopen(controller, old, new)
        } catch {
            if vectors > before { try await setVectors(function, before) }
            throw error
        }
        guard vectors < before else { return }
        do {
            try await setVectors(function, vectors)
        } catch {
            try await reopen(find(new.name), new, old)
            throw error
        }
    }

    // --- checks ---

    private func checkNumbers(
        _ function: FunctionListing, _ options: VirtioBlkOptions, _ vectors: Int
    ) throws(ControllerError) {
        let range = function.vectorRange
        if vectors != function.identity.vectorCount, !range.contains(vectors) {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_msix \(vectors): function \(function.identity.vuid) has "
                    + "\(function.identity.vectorCount) vectors and can have "
                    + "\(range.lowerBound) to \(range.upperBound) now")
        }
        let limit = min(function.identity.queueLimit, vectors - 1)
        let admin = options.hasAdminQueue ? 1 : 0
        if options.queueCount + admin > limit {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(options.queueCount)\(admin > 0 ? " and an admin queue" : ""): "
                    + "function \(function.identity.vuid) has "
                    + "\(function.identity.queueLimit) queues and would have \(vectors) vectors, "
                    + "one of them for configuration changes; at most \(limit) fit")
        }
    }

    // --- steps ---

    private func setVectors(
        _ function: FunctionListing, _ count: Int
    ) async throws(ControllerError) {
        do {
            try await manager.setVectors(vuid: function.identity.vuid, count: count)
        } catch { throw ControllerError(error) }
    }

    /// Closes a controller and opens it with `new`, or again with `old` when that fails. Its name
    /// is taken all the time.
    private func reopen(
        _ controller: VirtioBlkController, _ old: VirtioBlkOptions, _ new: VirtioBlkOptions
    ) async throws(ControllerError) {
        let device = await controller.device
        try await controller.close(force: true)
        do {
            replace(controller, by: try await open(new, device))
        } catch let refusal {
            do {
                replace(controller, by: try await open(old, device))
            } catch {
                replace(controller, by: nil)
                throw ControllerError(
                    refusal.code,
                    "\(refusal.reason); controller \"\(old.name)\" is closed, because it could not "
                        + "be opened again: \(error.reason)")
            }
            throw refusal
        }
    }

    private func replace(_ old: VirtioBlkController, by new: VirtioBlkController?) {
        guard let index = controllers.firstIndex(where: { $0 === old }) else { return }
        if let new { controllers[index] = new } else { controllers.remove(at: index) }
    }
}

extension VirtioBlkController {
    var device: BlockDevice? { use?.device }

    /// What opens the controller again as it is now.
    var presentOptions: VirtioBlkOptions {
        var present = options
        present.serial = serial
        present.bdev = bdevName
        present.startsSuspended = state == .suspended(eventsOnly: false)
        return present
    }
}
