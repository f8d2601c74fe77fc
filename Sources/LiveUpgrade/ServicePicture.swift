public import JSONRPC

/// One of the calls that make a service's objects again (framework_get_config).
public struct ConfigurationCall: Sendable, Equatable {
    public let method: String
    public var params: JSONObject

    public init(_ method: String, _ params: JSONObject) {
        self.method = method
        self.params = params
    }

    init?(_ json: JSONValue) {
        guard let method = json["method"]?.string else { return nil }
        guard case .object(let params)? = json["params"] else {
            self.init(method, [:])
            return
        }
        self.init(method, params)
    }

    func text(_ key: String) -> String? { params[key]?.string }

    /// Whether `other` makes the object that this call makes, perhaps differently.
    func makesSame(as other: ConfigurationCall) -> Bool {
        method == other.method
            && [
                "name", "ctrl_id", "nqn", "nsid", "bdev_name", "base_bdev", "base_name", "traddr",
                "trsvcid",
            ]
            .allSatisfy { params[$0] == other.params[$0] }
    }

    /// How it differs from `other`, in words.
    func differences(from other: ConfigurationCall) -> [String] {
        let keys = params.keys + other.params.keys.filter { params[$0] == nil }
        return keys.compactMap { key in
            let (mine, theirs) = (params[key], other.params[key])
            return mine == theirs
                ? nil : "\(key) is \(theirs?.text ?? "not set"), not \(mine?.text ?? "set")"
        }
    }

    /// The call as a client's user reads it.
    public var text: String {
        ([method] + params.members.map { "\($0.key)=\($0.value.text)" }).joined(separator: " ")
    }
}

extension JSONValue {
    var text: String { string ?? String(decoding: encoded(), as: UTF8.self) }
}

/// A controller as its service lists it.
public struct ControllerPicture: Sendable, Equatable {
    public enum Family: String, Sendable {
        case nvme = "nvme"
        case virtioBlk = "virtio_blk"
    }

    public let family: Family
    public let name: String
    public let vuid: String
    /// STARTED, SUSPENDED and so on.
    public let state: String
    /// Its part in a hand-over: preparing, offered, handed_over, listener, expired.
    public let part: String?
    /// NVMe: layout of its function's memory; nil when its service does not say.
    public let memoryVersion: UInt64?
    /// What makes it: without what only says how it starts.
    public let creation: ConfigurationCall
    /// NVMe: its namespaces.
    public let attachments: [ConfigurationCall]

    /// VUID of the VF's PF; nil for a PF.
    public var pfVUID: String? {
        guard let end = vuid.lastIndex(of: "V"), vuid[end...].hasPrefix("VF"),
            UInt(vuid[end...].dropFirst(2)) != nil
        else { return nil }
        return String(vuid[..<end])
    }

    func method(_ verb: String) -> String { "\(family.rawValue)_controller_\(verb)" }

    /// Whether it has the function.
    var hasLease: Bool { !["handed_over", "listener", "expired"].contains(part) }
}

/// What a service has, read over its RPCs.
public struct ServicePicture: Sendable, Equatable {
    public var facts: JSONValue
    /// Bdevs, subsystems and namespaces, in the order they are made.
    public var objects: [ConfigurationCall] = []
    public var controllers: [ControllerPicture] = []

    /// Reads all of it. An error: the service does not answer, or is none of ours.
    public static func read(
        _ connection: any ServiceConnection
    ) async throws(UpgradeError) -> ServicePicture {
        _ = try await connection.call("spdk_get_version")
        var picture = ServicePicture(facts: try await connection.call("softsnap_service_get"))
        var calls: [ConfigurationCall] = []
        for subsystem in ["bdev", "snap"] {
            let saved = try await connection.call(
                "framework_get_config", ["name": .string(subsystem)])
            calls += (saved.array ?? []).compactMap(ConfigurationCall.init)
        }
        for call in calls where !call.method.contains("_controller_") {
            if call.method != "bdev_wait_for_examine" { picture.objects.append(call) }
        }
        for family in [ControllerPicture.Family.virtioBlk, .nvme] {
            let listed = try await connection.call("\(family.rawValue)_controller_list")
            for entry in listed.array ?? [] {
                if let found = controller(entry, family, calls) {
                    picture.controllers.append(found)
                }
            }
        }
        return picture
    }

    private static func controller(
        _ entry: JSONValue, _ family: ControllerPicture.Family, _ calls: [ConfigurationCall]
    ) -> ControllerPicture? {
        guard let name = entry["ctrl_id"]?.string, let vuid = entry["vuid"]?.string,
            var creation = calls.first(where: {
                $0.method == "\(family.rawValue)_controller_create" && $0.text("ctrl_id") == name
            })
        else { return nil }
        creation.params["suspended"] = nil
        return ControllerPicture(
            family: family, name: name, vuid: vuid, state: entry["state"]?.string ?? "",
            part: entry["live_update"]?.string, memoryVersion: entry["memory_version"]?.unsigned,
            creation: creation,
            attachments: calls.filter {
                $0.method == "\(family.rawValue)_controller_attach_ns"
                    && $0.text("ctrl_id") == name
            })
    }

    /// Layouts of NVMe function memory that it adopts.
    var nvmeMemoryVersions: [UInt64] {
        facts["nvme_memory_versions"]?.array?.compactMap(\.unsigned) ?? []
    }

    /// The controller on a function.
    func controller(on vuid: String) -> ControllerPicture? {
        controllers.first { $0.vuid == vuid }
    }
}
