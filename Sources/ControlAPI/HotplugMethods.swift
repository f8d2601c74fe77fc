internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform

/// Functions that come and go at run time (functions.json).
extension MethodRegistry {
    func registerHotplug(_ context: StorageContext) {
        registerFunctionCreation(context)
        registerFunctionDestruction(context)
        registerPlugging(context, .virtioBlk)
        registerPlugging(context, .nvme)
        registerDetaching(context)
    }

    private func registerFunctionCreation(_ context: StorageContext) {
        register("virtio_blk_function_create") { parameters in
            let defaults = try context.controllerDefaults(parameters)
            let function = try await context.manager.createFunction(
                try FunctionRequest(parameters, kind: .virtioBlk))
            context.defaults.set(defaults, for: function.vuid)
            return function.created
        }
        register("nvme_function_create") { parameters in
            try await context.manager.createFunction(
                try FunctionRequest(parameters, kind: .nvme)
            ).created
        }
        register("virtio_blk_emulation_device_attach") { parameters in
            let defaults = try context.controllerDefaults(parameters)
            let function = try await context.createPlugged(
                try FunctionRequest(parameters, kind: .virtioBlk))
            context.defaults.set(defaults, for: function.vuid)
            return function.created
        }
        register("nvme_emulation_device_attach") { parameters in
            try await context.createPlugged(
                try FunctionRequest(parameters, kind: .nvme)
            ).created
        }
    }

    private func registerFunctionDestruction(_ context: StorageContext) {
        register("virtio_blk_function_destroy") { parameters in
            try await context.destroyFunction(parameters, kind: .virtioBlk, force: false)
        }
        register("nvme_function_destroy") { parameters in
            try await context.destroyFunction(parameters, kind: .nvme, force: false)
        }
        register("emulation_device_detach") { parameters in
            try await context.destroyFunction(
                parameters, kind: nil, force: parameters.flag("force"))
        }
    }

    private func registerPlugging(_ context: StorageContext, _ kind: FunctionIdentity.Kind) {
        register("\(kind.prefix)_controller_hotplug") { parameters in
            let vuid = try await context.hotplugFunction(ofController: parameters, kind)
            try await context.manager.plug(vuid: vuid)
            if parameters.flag("wait_for_done") { try await context.wait(for: .plugged, vuid) }
            return true
        }
        register("\(kind.prefix)_controller_hotunplug") { parameters in
            let vuid = try await context.hotplugFunction(ofController: parameters, kind)
            try await context.manager.unplug(vuid: vuid)
            if parameters.flag("wait_for_done") { try await context.wait(for: .unplugged, vuid) }
            return true
        }
    }

    private func registerDetaching(_ context: StorageContext) {
        register("emulation_device_detach_prepare") { parameters in
            let vuid = try await context.functionToDetach(parameters)
            try await context.manager.unplug(vuid: vuid)
            try await context.wait(for: .unplugged, vuid)
            return true
        }
    }
}

extension FunctionIdentity {
    /// Scripts cut this by position: vhca_id first.
    fileprivate var created: JSONValue {
        ["vhca_id": JSONValue(vhcaID), "vuid": .string(vuid)]
    }
}

extension StorageContext {
    /// The one-step plug.
    fileprivate func createPlugged(
        _ request: FunctionRequest
    ) async throws(ControllerError) -> FunctionIdentity {
        var request = request
        request.isPlugged = true
        do {
            return try await manager.createFunction(request)
        } catch { throw ControllerError(error) }
    }

    fileprivate func destroyFunction(
        _ parameters: Parameters, kind: FunctionIdentity.Kind?, force: Bool
    ) async throws -> JSONValue {
        let function = try await function(parameters, by: ["vuid", "vhca_id"], kind: kind)
        try function.listing.requireHotplug()
        try await manager.destroyFunction(vuid: function.vuid, force: force)
        defaults.remove(function.vuid)
        return true
    }

    /// - Parameter kind: of the controller; nil takes either.
    fileprivate func hotplugFunction(
        ofController parameters: Parameters, _ kind: FunctionIdentity.Kind?
    ) async throws -> String {
        let name = parameters.string("ctrl_id")
        let vuid: String
        if let kind {
            vuid = try await identity(ofController: name, kind).vuid
        } else {
            vuid = try await identity(ofController: name).vuid
        }
        guard let function = try await functions()[vuid] else { throw functionIsGone(vuid) }
        try function.requireHotplug()
        return vuid
    }

    fileprivate func functionToDetach(_ parameters: Parameters) async throws -> String {
        let isByController = parameters.has("ctrl_id")
        if isByController, !parameters.has("vuid"), !parameters.has("vhca_id") {
            return try await hotplugFunction(ofController: parameters, nil)
        }
        let function = try await function(
            parameters, by: ["vuid", "vhca_id", "ctrl_id"], kind: nil)
        try function.listing.requireHotplug()
        guard function.listing.controller != nil else {
            throw ControllerError(
                ErrorNumber.busy,
                "function \(function.vuid) has no controller to serve its driver while the host "
                    + "lets go of it; create one first")
        }
        return function.vuid
    }

    func functionIsGone(_ vuid: String) -> ControllerError {
        ControllerError(
            ErrorNumber.noDevice, "function \(vuid) is gone; destroy its controller")
    }
}

extension FunctionIdentity.Kind {
    /// How names of methods begin.
    var prefix: String {
        switch self {
        case .virtioBlk: "virtio_blk"
        case .nvme: "nvme"
        }
    }
}

extension FunctionListing {
    fileprivate func requireHotplug() throws(ControllerError) {
        guard hotplugState == nil else { return }
        throw ControllerError(
            ErrorNumber.invalid,
            "function \(identity.vuid) is a \(identity.vfIndex == nil ? "static PF" : "VF"), not a "
                + "hot-plug PF: it is there as long as the firmware configuration says so")
    }
}
