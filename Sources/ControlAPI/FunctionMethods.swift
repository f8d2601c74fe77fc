internal import Hardware
internal import JSONRPC

/// The list of functions (functions.json).
extension MethodRegistry {
    func registerFunctions(_ context: StorageContext) {
        register("emulation_function_list") { parameters in
            try await context.functions().json(withDisabled: parameters.flag("all"))
        }
    }
}

extension FunctionTree {
    /// PFs with their VFs in them; without those that the host has not enabled, unless told.
    fileprivate func json(withDisabled: Bool) -> JSONValue {
        .array(
            pfs.map { pf in
                let all = vfs(of: pf)
                let shown = withDisabled ? all : all.filter(\.isEnabled)
                return pf.json(vfs: shown, hasPool: !all.isEmpty)
            })
    }
}

extension FunctionListing {
    fileprivate func json(vfs: [FunctionListing], hasPool: Bool) -> JSONValue {
        var object = identifiers
        object.append("num_vfs", JSONValue(vfs.count))
        object.append(
            "vfs",
            .array(
                vfs.map { vf in
                    var object = vf.identifiers
                    vf.addFacts(to: &object)
                    object.append("enabled", .bool(vf.isEnabled))
                    return .object(object)
                }))
        addFacts(to: &object)
        if hasPool {
            object.append("free_msix", JSONValue(freeVectorCount ?? 0))
            object.append("num_enabled_vfs", JSONValue(enabledVFCount))
        }
        return .object(object)
    }

    /// What SNAP documents, in its order.
    private var identifiers: JSONObject {
        var object: JSONObject = ["hotplugged": .bool(identity.isHotplugged)]
        if let hotplugState {
            object.append("hotplug state", .string(hotplugState.rawValue))
        }
        object.append("emulation_type", .string(identity.kind.rawValue))
        object.append("pf_index", JSONValue(identity.pfIndex))
        if let vfIndex = identity.vfIndex { object.append("vf_index", JSONValue(vfIndex)) }
        object.append("pci_bdf", .string(identity.bdf))
        object.append("vhca_id", JSONValue(identity.vhcaID))
        object.append("vuid", .string(identity.vuid))
        if let controller { object.append("ctrl_id", .string(controller)) }
        return object
    }

    /// What we add.
    private func addFacts(to object: inout JSONObject) {
        object.append("num_msix", JSONValue(identity.vectorCount))
        object.append("driver_bound", .bool(isDriverBound))
        object.append("host_connected", .bool(isHostConnected))
        if let hostSocketPath { object.append("host_socket", .string(hostSocketPath)) }
    }
}
