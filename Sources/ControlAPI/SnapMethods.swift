internal import Bdev
internal import Emulation
internal import JSONRPC
internal import Platform

/// SNAP's methods on functions and vectors, and on its bdev registry (snap.json).
extension MethodRegistry {
    public func registerSnap(_ context: StorageContext) {
        registerFunctions(context)
        registerHotplug(context)
        registerVectors(context)
        registerRDMA(context)
        registerPauses(context)
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
