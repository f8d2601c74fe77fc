internal import Hardware
internal import Platform

/// What a controller's `modify` asks of its function, of whichever kind: that it is there, and that
/// no host uses it.
enum FunctionModification {
    static func listing(
        of vuid: String, controller: String, _ manager: any EmulationManager
    ) async throws(ControllerError) -> FunctionListing {
        let found: FunctionListing?
        do {
            found = try await manager.functions().first { $0.identity.vuid == vuid }
        } catch { throw ControllerError(error) }
        guard let found else {
            throw ControllerError(
                ErrorNumber.noDevice,
                "function \(vuid) of controller \"\(controller)\" is gone; destroy the controller")
        }
        return found
    }

    /// For VFs and for hot-plug PFs that are powered off, while no host is connected.
    /// - Parameter parameter: what is to change first, for the refusal.
    static func checkUse(
        _ function: FunctionListing, parameter: String
    ) throws(ControllerError) {
        let vuid = function.identity.vuid
        if function.identity.vfIndex == nil {
            guard let state = function.hotplugState else {
                throw ControllerError(
                    ErrorNumber.notSupported,
                    "\(parameter): function \(vuid) is a static PF with "
                        + "\(function.identity.vectorCount) vectors, which are part of its "
                        + "firmware configuration; for other queues destroy the controller and "
                        + "create it again")
            }
            guard state == .powerOff else {
                let prefix = function.identity.kind == .nvme ? "nvme" : "virtio_blk"
                throw ControllerError(
                    ErrorNumber.busy,
                    "function \(vuid) is \(state.rawValue); a hot-plug PF can be modified while it "
                        + "is POWER_OFF: use \(prefix)_controller_hotunplug first")
            }
        }
        if function.isHostConnected || function.isDriverBound {
            throw ControllerError(
                ErrorNumber.busy,
                "function \(vuid) is in use by its host; unbind its driver or disconnect its "
                    + "virtual machine first")
        }
    }
}
