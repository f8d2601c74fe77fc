internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform

/// SNAP's methods on functions and on its bdev registry (snap.json).
extension MethodRegistry {
    public func registerSnap(_ context: StorageContext) {
        register("emulation_function_list") { _ in
            let listings = try await context.manager.functions()
            return .array(listings.filter { $0.identity.vfIndex == nil }.map(\.json))
        }
        register("spdk_bdev_create") { parameters in
            let device = try context.device(parameters.string("bdev_name"))
            context.registrations.add(device.name)
            return true
        }
        register("spdk_bdev_destroy") { parameters in
            let device = try context.device(parameters.string("bdev_name"))
            guard device.users.isEmpty else {
                throw ControllerError(
                    ErrorNumber.busy,
                    "bdev \"\(device.name)\" is used by \(device.users.joined(separator: ", ")); "
                        + "detach or destroy that first")
            }
            context.registrations.remove(device.name)
            return true
        }
        register("bdev_list") { _ in
            let registered = context.registrations.all
            let listed = context.bdevs.devices.filter { device in
                registered.contains(device.name) || !device.users.isEmpty
            }
            return .array(listed.map { ["name": .string($0.name), "transport": "local"] })
        }
    }
}

extension StorageContext {
    /// A bdev by name or alias; the error names it.
    func device(_ name: String) throws(ControllerError) -> BlockDevice {
        do {
            return try bdevs.device(name)
        } catch {
            throw ControllerError(
                ErrorNumber.noDevice,
                "bdev \"\(name)\" does not exist; bdev_get_bdevs shows those that do")
        }
    }
}

extension FunctionListing {
    var json: JSONValue {
        var object: JSONObject = [
            "hotplugged": .bool(identity.isHotplugged),
            "emulation_type": .string(identity.kind.rawValue),
            "pf_index": JSONValue(identity.pfIndex), "pci_bdf": .string(identity.bdf),
            "vhca_id": JSONValue(identity.vhcaID), "vuid": .string(identity.vuid),
        ]
        if let controller { object.append("ctrl_id", .string(controller)) }
        object.append("num_vfs", 0)
        object.append("vfs", [])
        return .object(object)
    }
}
