internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC

/// The calls that rebuild subsystems, namespaces and NVMe controllers, in an order that a driver
/// that waits for them is served right: a controller starts when its namespaces are attached.
extension StorageContext {
    /// - Parameter tree: of hardware that forgets its functions with the service.
    func savedNVMe(_ tree: FunctionTree?) async -> [JSONValue] {
        var calls: [JSONValue] = []
        func call(_ method: String, _ params: JSONObject) {
            calls.append(["method": .string(method), "params": .object(params)])
        }
        for subsystem in await nvme.subsystems {
            call("nvme_subsystem_create", subsystem.savedParams)
        }
        let namespaces = (try? await nvme.namespaces(of: nil)) ?? []
        for namespace in namespaces { call("nvme_namespace_create", namespace.savedParams) }
        let controllers = await nvme.all
        // PFs whose VFs have taken vectors from the pool.
        let pools = Set(
            controllers.compactMap { $0.options.vectorCount == nil ? nil : $0.identity.pfVUID })
        for controller in controllers {
            let name = JSONValue.string(controller.options.name)
            call("nvme_controller_create", controller.savedParams)
            if manager.isVolatile, pools.contains(controller.options.vuid) {
                call("nvme_controller_vfs_msix_reclaim", ["ctrl_id": name])
            }
            for namespace in namespaces
            where namespace.controller == controller.options.name
                && namespace.nqn == controller.options.nqn
            {
                call(
                    "nvme_controller_attach_ns",
                    ["ctrl_id": name, "nsid": JSONValue(namespace.id)])
            }
            if await controller.state != .suspended(eventsOnly: false) {
                call("nvme_controller_resume", ["ctrl_id": name])
            }
            if tree?[controller.options.vuid]?.isPluggedAtRunTime == true {
                call("nvme_controller_hotplug", ["ctrl_id": name])
            }
        }
        return calls
    }
}

extension NVMeSubsystem {
    fileprivate var savedParams: JSONObject {
        var params: JSONObject = [
            "nqn": .string(nqn), "serial_number": .string(serialNumber),
            "model_number": .string(modelNumber), "nn": JSONValue(namespaceLimit),
            "mnan": JSONValue(namespaceCountLimit),
        ]
        if isSingleController { params.append("single_ctrl", true) }
        return params
    }
}

extension NVMeNamespace {
    fileprivate var savedParams: JSONObject {
        var params: JSONObject = [
            "nqn": .string(nqn), "nsid": JSONValue(id), "bdev_name": .string(bdevName),
            "uuid": .string(uuid.description), "nguid": JSONValue(digits: nguid),
        ]
        if let eui64 { params.append("eui64", JSONValue(digits: eui64)) }
        return params
    }
}

extension JSONValue {
    fileprivate init(digits bytes: [UInt8]) {
        self = .string(
            bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined())
    }
}

extension NVMeController {
    /// What creates the controller again, suspended until its namespaces are there.
    fileprivate nonisolated var savedParams: JSONObject {
        var params: JSONObject = [
            "nqn": .string(options.nqn), "vuid": .string(options.vuid),
            "ctrl_id": .string(options.name), "mdts": JSONValue(options.mdts),
            "fw_slots": JSONValue(options.firmwareSlotCount), "suspended": true,
        ]
        if !options.isAdminOnly { params.append("num_queues", JSONValue(options.queueCount)) }
        if identity.vfIndex != nil {
            params.append("vf_num_msix", JSONValue(identity.vectorCount))
        }
        if options.quirks != 0 { params.append("quirks", JSONValue(options.quirks)) }
        let flags = [
            ("admin_only", options.isAdminOnly), ("dynamic_msix", options.isDynamic),
            ("write_zeroes", options.offersWriteZeroes), ("compare", options.offersCompare),
            ("compare_write", options.offersCompareAndWrite),
            ("deallocate_dsm", options.offersDeallocate),
        ]
        for (name, isSet) in flags where isSet { params.append(name, true) }
        return params
    }
}
