internal import Hardware
internal import Platform

/// Other queues or vectors for a controller whose function no host uses.
extension NVMeSubsystems {
    /// - Parameters: nil leaves a number as it is.
    public func modify(
        _ name: String, queueCount: Int?, vectorCount: Int?
    ) async throws(ControllerError) {
        let controller = try find(name)
        guard changing.insert(name).inserted else {
            throw ControllerError(
                ErrorNumber.busy, "controller \"\(name)\" is being modified already")
        }
        defer { changing.remove(name) }
        try await controller.checkNoLiveUpdate()
        let function = try await FunctionModification.listing(
            of: controller.options.vuid, controller: name, manager)
        try FunctionModification.checkUse(
            function, parameter: vectorCount == nil ? "num_queues" : "num_msix")
        let before = function.identity.vectorCount
        let vectors = vectorCount ?? before
        let range = function.vectorRange
        if vectors != before, !range.contains(vectors) {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_msix \(vectors): function \(function.identity.vuid) has \(before) vectors and "
                    + "can have \(range.lowerBound) to \(range.upperBound) now")
        }
        let limit = min(
            function.identity.queueLimit, function.identity.kind.queues(of: vectors))
        var options = controller.options
        options.queueCount = queueCount ?? options.queueCount
        guard options.queueCount <= limit else {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(options.queueCount): function \(function.identity.vuid) has "
                    + "\(function.identity.queueLimit) I/O queues and would have \(vectors) "
                    + "vectors; at most \(limit) fit")
        }
        if options.queueCount == controller.options.queueCount, vectors == before { return }
        try await reopen(controller, options, vectors: vectors, before: before)
    }

    /// Closes the controller and opens it with `new`, or as it was when that fails. Its namespaces
    /// come with it.
    private func reopen(
        _ controller: NVMeController, _ new: NVMeOptions, vectors: Int, before: Int
    ) async throws(ControllerError) {
        let old = controller.options
        let isSuspended = await controller.state == .suspended(eventsOnly: false)
        try await controller.close(force: true)
        do {
            if vectors != before { try await setVectors(old.vuid, vectors) }
            try await replace(controller, new, isSuspended: isSuspended)
        } catch let refusal {
            if vectors != before { try? await setVectors(old.vuid, before) }
            do {
                try await replace(controller, old, isSuspended: isSuspended)
            } catch {
                remove(controller)
                throw ControllerError(
                    refusal.code,
                    "\(refusal.reason); controller \"\(old.name)\" is closed, because it could not "
                        + "be opened again: \(error.reason)")
            }
            throw refusal
        }
    }

    private func setVectors(_ vuid: String, _ count: Int) async throws(ControllerError) {
        do {
            try await manager.setVectors(vuid: vuid, count: count)
        } catch { throw ControllerError(error) }
    }

    private func replace(
        _ old: NVMeController, _ options: NVMeOptions, isSuspended: Bool
    ) async throws(ControllerError) {
        var options = options
        options.startsSuspended = isSuspended
        options.vectorCount = nil
        let new = try await open(options)
        if let index = controllers.firstIndex(where: { $0 === old }) { controllers[index] = new }
        for space in namespaces where space.controller == options.name {
            try await new.attach(space)
        }
    }

    private func remove(_ controller: NVMeController) {
        controllers.removeAll { $0 === controller }
        for index in namespaces.indices
        where namespaces[index].controller == controller.options.name {
            namespaces[index].controller = nil
        }
    }
}
