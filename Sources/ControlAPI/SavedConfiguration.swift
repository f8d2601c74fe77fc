internal import Bdev
internal import Emulation
internal import Hardware
public import JSONRPC

/// The calls that rebuild what clients have made (framework_get_config).
extension StorageContext {
    /// Subsystems with something to save, in the order in which they are rebuilt.
    public static let subsystems = [
        SubsystemFacts(name: "sock", dependencies: []),
        SubsystemFacts(name: "bdev", dependencies: ["sock"]),
        SubsystemFacts(name: "snap", dependencies: ["bdev"]),
    ]

    /// Nil for a subsystem that there is not, or that has nothing to save.
    public func configuration(of subsystem: String) async -> [JSONValue]? {
        switch subsystem {
        case "sock": sockets.savedCalls
        case "bdev": await bdevConfiguration
        case "snap": await controllerConfiguration()
        default: nil
        }
    }

    private var bdevConfiguration: [JSONValue] {
        get async {
            let remotes = await savedRemotes
            return examination.savedCalls + remotes + creations.savedCalls + savedLimits
                + [["method": "bdev_wait_for_examine"]]
        }
    }

    private var savedLimits: [JSONValue] {
        let limited = bdevs.devices.filter { $0.rateLimits != RateLimits() }
        return limited.map { device in
            var params: JSONObject = ["name": .string(device.name)]
            for member in device.rateLimits.json.members { params.append(member.key, member.value) }
            return ["method": "bdev_set_qos_limit", "params": .object(params)]
        }
    }

    private func controllerConfiguration() async -> [JSONValue]? {
        var calls: [JSONValue] = registrations.all.map { name in
            ["method": "spdk_bdev_create", "params": ["bdev_name": .string(name)]]
        }
        let all = await controllers.all
        // Hardware that stays when the service ends keeps its functions and vectors itself.
        let tree = manager.isVolatile ? try? await functions() : nil
        if let tree { calls += tree.savedHotplugFunctions }
        let pools = manager.isVolatile ? reassignedPools(all) : []
        for controller in all {
            let name = JSONValue.string(controller.options.name)
            calls.append(
                call("virtio_blk_controller_create", await controller.savedParams))
            if pools.contains(controller.options.vuid) {
                calls.append(call("virtio_blk_controller_vfs_msix_reclaim", ["ctrl_id": name]))
            }
            if tree?[controller.options.vuid]?.isPluggedAtRunTime == true {
                calls.append(call("virtio_blk_controller_hotplug", ["ctrl_id": name]))
            }
        }
        calls += await savedNVMe(tree)
        return calls.isEmpty ? nil : calls
    }

    /// PFs whose pools are to be filled again before their VFs take from them.
    private func reassignedPools(_ controllers: [VirtioBlkController]) -> Set<String> {
        Set(
            controllers.compactMap { controller in
                controller.options.vectorCount == nil ? nil : controller.identity.pfVUID
            })
    }
}

private func call(_ method: String, _ params: JSONObject) -> JSONValue {
    ["method": .string(method), "params": .object(params)]
}

extension FunctionTree {
    /// What creates the hot-plug PFs again, in the order of their slots: their VUIDs follow from it
    /// when no slot is left out.
    fileprivate var savedHotplugFunctions: [JSONValue] {
        all.filter { $0.hotplugState != nil }.map { function in
            call(
                "\(function.identity.kind.prefix)_function_create",
                ["num_msix": JSONValue(function.identity.vectorCount)])
        }
    }
}

extension FunctionListing {
    /// Whether it was shown to the host by a call.
    var isPluggedAtRunTime: Bool {
        hotplugState == .powerOn || hotplugState == .plugging
    }
}

extension VirtioBlkController {
    /// What creates the controller again as it is now.
    fileprivate var savedParams: JSONObject {
        var params: JSONObject = [
            "vuid": .string(options.vuid), "ctrl_id": .string(options.name),
        ]
        if let bdevName { params.append("bdev", .string(bdevName)) }
        params.append("num_queues", JSONValue(options.queueCount))
        params.append("queue_size", JSONValue(options.queueSize))
        params.append("size_max", JSONValue(options.sizeMax))
        params.append("seg_max", JSONValue(options.segMax))
        if !serial.isEmpty { params.append("vblk_id", .string(serial)) }
        if identity.vfIndex != nil {
            params.append("vf_num_msix", JSONValue(identity.vectorCount))
        }
        let flags = [
            ("dynamic_msix", options.isDynamic), ("admin_q", options.hasAdminQueue),
            ("force_in_order", options.isInOrder),
            ("indirect_desc", options.isIndirect), ("read_only", options.isReadOnly),
            ("dbg_local_optimized", options.isLocalOptimized),
        ]
        for (name, isSet) in flags where isSet { params.append(name, true) }
        if state == .suspended(eventsOnly: false) { params.append("suspended", true) }
        return params
    }
}
