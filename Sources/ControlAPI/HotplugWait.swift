internal import Emulation
internal import Hardware
internal import Platform

/// What `wait_for_done` waits for.
enum HotplugGoal {
    case plugged
    case unplugged

    /// How long a host that is powered on may take to notice a plug, before "no virtual machine is
    /// connected" means that there is nobody to answer.
    static let noticeLimit = Duration.milliseconds(300)

    /// Whether the call is done. A host that cannot answer now will find the function when it
    /// can, so for a plug it is enough to have told it; letting go is up to the host alone.
    func isReached(by function: FunctionListing, after waited: Duration) -> Bool {
        switch (self, function.hotplugState) {
        case (.plugged, .powerOn): true
        case (.plugged, .plugging): !function.isHostConnected && waited >= Self.noticeLimit
        case (.unplugged, .powerOff): true
        default: false
        }
    }

    fileprivate func cure(_ kind: FunctionIdentity.Kind) -> String {
        switch self {
        case .plugged:
            "let the host rescan its bus, or take the function back with "
                + "\(kind.prefix)_controller_hotunplug"
        case .unplugged:
            "end I/O and unmount the disk in the host, then ask again, or destroy the controller "
                + "and take the function away with emulation_device_detach --force"
        }
    }
}

extension StorageContext {
    /// Watches the listing until the goal is reached. Bounded: the client's patience is not known.
    func wait(for goal: HotplugGoal, _ vuid: String) async throws(ControllerError) {
        let start = ContinuousClock.now
        while true {
            guard let function = try await functions()[vuid] else { throw functionIsGone(vuid) }
            let waited = ContinuousClock.now - start
            if goal.isReached(by: function, after: waited) { return }
            guard waited < hotplugLimit else {
                let state = function.hotplugState?.rawValue ?? "static"
                throw ControllerError(
                    ErrorNumber.timedOut,
                    "function \(vuid) is still \(state) after \(hotplugLimit); "
                        + goal.cure(function.identity.kind))
            }
            do {
                try await Task.sleep(for: .milliseconds(20))
            } catch {
                throw ControllerError(
                    ErrorNumber.canceled, "nobody waits for function \(vuid) any more")
            }
        }
    }
}
