internal import Emulation
internal import JSONRPC

/// One of the calls that make a service's objects again.
struct RecordedCall: Sendable, Equatable {
    let method: String
    var params: JSONObject
    /// Of a call that creates a controller: the lease that the controller has on its function.
    var lease: UInt64?

    init(_ method: String, _ params: JSONObject, lease: UInt64? = nil) {
        self.method = method
        self.params = params
        self.lease = lease
    }

    init?(_ json: JSONValue) {
        guard let method = json["method"]?.string else { return nil }
        var params: JSONObject = [:]
        switch json["params"] {
        case nil: break
        case .object(let members)?: params = members
        default: return nil
        }
        self.init(method, params, lease: json["lease"]?.unsigned)
    }

    var json: JSONValue {
        var members: JSONObject = ["method": .string(method), "params": .object(params)]
        if let lease { members.append("lease", JSONValue(lease)) }
        return .object(members)
    }

    /// The controller that the call is about; nil for a call about something else.
    var controller: ControllerKey? {
        guard let name = params["ctrl_id"]?.string, method.contains("_controller_") else {
            return nil
        }
        return ControllerKey(isNVMe: method.hasPrefix("nvme_"), name: name)
    }

    struct ControllerKey: Hashable {
        let isNVMe: Bool
        let name: String
    }

    /// Whether `other` makes the object that this call makes, perhaps differently.
    func makesSame(as other: RecordedCall) -> Bool {
        method == other.method
            && [
                "name", "ctrl_id", "nqn", "nsid", "bdev_name", "base_name", "traddr",
                "trsvcid",
            ].allSatisfy {
                params[$0] == other.params[$0]
            }
    }
}

extension StorageContext {
    /// The calls that make everything there is now again, with the leases of controllers.
    func recordedCalls() async -> [RecordedCall] {
        var leases: [RecordedCall.ControllerKey: UInt64] = [:]
        for controller in await controllers.all {
            leases[.init(isNVMe: false, name: controller.options.name)] = controller.lease
        }
        for controller in await nvme.all {
            leases[.init(isNVMe: true, name: controller.options.name)] = controller.lease
        }
        var calls: [RecordedCall] = []
        // Sockets are set up before initialization only, by who starts the service again.
        for subsystem in Self.subsystems where subsystem.name != "sock" {
            let saved = await configuration(of: subsystem.name) ?? []
            calls += saved.compactMap(RecordedCall.init)
        }
        // A target that is away does not hold up the recovery of everything else.
        for index in calls.indices where calls[index].method == "bdev_nvme_start_discovery" {
            calls[index].params["attach_timeout_ms"] = 10_000
        }
        for index in calls.indices where calls[index].method.hasSuffix("_controller_create") {
            calls[index].lease = calls[index].controller.flatMap { leases[$0] }
        }
        return calls
    }
}
