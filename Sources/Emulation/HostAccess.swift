internal import Hardware
internal import Memory
internal import NVMe
internal import Platform

/// A memory table, mapped, or the keys of one.
struct HostAccess {
    enum Way: Sendable {
        case mapped(HostMemory)
        case remote(RemoteMemory, RemoteGrants)
    }

    let generation: UInt64
    let way: Way

    /// Whether it is what a state with this table, and these keys, grants.
    func fits(_ generation: UInt64, _ wanted: RemoteGrants?) -> Bool {
        guard generation == self.generation else { return false }
        switch way {
        case .mapped: return wanted == nil
        case .remote(_, let grants): return grants == wanted
        }
    }
}

extension HostAccess.Way {
    /// Whether both pages of doorbells are there just now.
    func holds(_ shadow: ControllerModel.ShadowDoorbells) -> Bool {
        switch self {
        case .mapped(let memory): shadow.isReachable(in: memory)
        case .remote(let memory, _): shadow.isReachable(in: memory)
        }
    }

    /// By keys. ENOTSUP: the hardware gives none; ENOMEM: it could not make them.
    /// - Parameter isNeeded: false while another service uses them.
    static func remote(
        by grants: RemoteGrants?, isNeeded: Bool
    ) throws(ControllerError) -> HostAccess.Way {
        guard let grants else {
            throw ControllerError(
                ErrorNumber.notSupported,
                "the software DPU gives no keys of host memory; upgrade it, or start the service "
                    + "with --data-path mapped")
        }
        if let reason = grants.refusal, isNeeded {
            throw ControllerError(ErrorNumber.noMemory, "host memory has no keys: \(reason)")
        }
        let device = grants.doorbells.map {
            RemoteMemory.Device(memory: grants.functionMemory, doorbells: $0)
        }
        return .remote(RemoteMemory(grants.regions, device: device), grants)
    }
}
