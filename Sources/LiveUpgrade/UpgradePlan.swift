internal import JSONRPC

/// How everything that a source has comes to a destination: what is made there first, the functions
/// in the order in which they move, and what is deleted at the source in the end.
///
/// Made from two pictures alone, so an upgrade that was interrupted goes on where it stopped: what
/// has been done is not planned again.
public struct UpgradePlan: Sendable, Equatable {
    public struct Options: Sendable {
        /// Also bdevs whose contents do not move.
        public var allowsVolatile = false
        /// Destroys and creates instead of handing over.
        public var recreates = false
        public init() {}
    }

    /// One function's move.
    public struct Move: Sendable, Equatable {
        public enum Way: String, Sendable {
            /// Listener and notifier.
            case handOver = "hand over"
            /// Destroyed at the source, created at the destination.
            case recreate = "destroy and create"
        }

        public let controller: ControllerPicture
        public let way: Way
        /// The destination's listener is there from an earlier run.
        public let hasListener: Bool
    }

    public internal(set) var objects: [ConfigurationCall] = []
    public internal(set) var moves: [Move] = []
    /// Functions that an earlier run has moved.
    public internal(set) var moved: [String] = []
    /// Controllers of the destination that an earlier run has left useless.
    public internal(set) var leftovers: [ControllerPicture] = []
    /// Controllers of the source, VFs first, without a function by then.
    public internal(set) var husks: [ControllerPicture] = []
    public internal(set) var deletions: [ConfigurationCall] = []

    public var isEmpty: Bool {
        objects.isEmpty && moves.isEmpty && husks.isEmpty && deletions.isEmpty
    }

    /// Refuses what cannot end well, before anything changes.
    public init(
        from source: ServicePicture, to destination: ServicePicture, _ options: Options
    ) throws(UpgradeError) {
        try Self.checkPair(source, destination)
        for call in source.objects {
            if let present = destination.objects.first(where: { call.makesSame(as: $0) }) {
                let differences = call.differences(from: present)
                guard differences.isEmpty else {
                    throw UpgradeError(
                        "the destination has another object of this name: \(call.text): "
                            + differences.joined(separator: ", ")
                            + "; rename or destroy one of them")
                }
            } else {
                objects.append(call)
            }
        }
        if !options.allowsVolatile, let call = objects.first(where: \.isVolatile) {
            throw UpgradeError(
                "\(call.text): what this bdev holds does not move with it; use --allow-volatile "
                    + "when nobody needs it")
        }
        try planMoves(source, destination, options)
        husks =
            source.controllers.filter { $0.pfVUID != nil }
            + source.controllers.filter { $0.pfVUID == nil }
        deletions = source.objects.reversed().compactMap(\.deletion)
    }

    private static func checkPair(
        _ source: ServicePicture, _ destination: ServicePicture
    ) throws(UpgradeError) {
        if source.facts["instance"] == destination.facts["instance"] {
            throw UpgradeError(
                "source and destination are the same service; give -s and -d different sockets")
        }
        guard source.facts["dpu"] == destination.facts["dpu"],
            source.facts["embedded"] != true
        else {
            throw UpgradeError(
                "the services have different software DPUs; functions move between services of "
                    + "one, started with the same --dpu")
        }
        let kind = "virtio_memory_versions"
        let written = source.facts[kind]?.array?.first
        guard let written, destination.facts[kind]?.array?.contains(written) == true else {
            throw UpgradeError(
                "function memory: the source writes version \(written?.text ?? "?") of "
                    + "\(kind), and the destination reads "
                    + "\(destination.facts[kind]?.text ?? "none"); use a destination between")
        }
        for controller in source.controllers where controller.family == .nvme {
            try checkMemory(of: controller, source, destination)
        }
    }

    /// A function keeps its layout while it moves: the destination must speak it.
    private static func checkMemory(
        of controller: ControllerPicture, _ source: ServicePicture, _ destination: ServicePicture
    ) throws(UpgradeError) {
        let spoken = destination.nvmeMemoryVersions
        // A service that does not say which layout a function has speaks one only.
        let found = controller.memoryVersion ?? source.nvmeMemoryVersions.first
        if !controller.hasLease || found.map(spoken.contains) == true { return }
        let oldest = spoken.min() ?? 0
        let cure =
            oldest > found ?? 0
            ? "move it to a service that speaks both first, and reset the controller in its host "
                + "there"
            : "start the source with --function-memory-version \(spoken.max() ?? 1) and reset the "
                + "controller in its host, or use a newer destination"
        throw UpgradeError(
            "controller \"\(controller.name)\" on \(controller.vuid): its function memory has "
                + "layout version \(found.map { "\($0)" } ?? "?"), and the destination speaks "
                + spoken.map { "\($0)" }.joined(separator: ", ") + "; \(cure)")
    }

    private mutating func planMoves(
        _ source: ServicePicture, _ destination: ServicePicture, _ options: Options
    ) throws(UpgradeError) {
        let pfs = source.controllers.filter { $0.pfVUID == nil }
        let ordered = pfs.flatMap { pf in
            [pf] + source.controllers.filter { $0.pfVUID == pf.vuid }
        }
        let orphans = source.controllers.filter { vf in
            vf.pfVUID != nil && !pfs.contains { $0.vuid == vf.pfVUID }
        }
        for controller in ordered + orphans {
            let other = destination.controller(on: controller.vuid)
            // There is one owner: what serves there does not serve here, whatever it is called.
            let isThere = other.map { $0.hasLease && $0.state == "STARTED" } ?? false
            if !controller.hasLease || isThere {
                moved.append(controller.vuid)
                continue
            }
            try Self.checkName(controller, destination)
            if let other, other.part == "expired" || other.state == "STOPPED" {
                leftovers.append(other)
            }
            let isSuspended = controller.state == "SUSPENDED" && controller.part == nil
            moves.append(
                Move(
                    controller: controller,
                    way: options.recreates || isSuspended ? .recreate : .handOver,
                    hasListener: other?.part == "listener"))
        }
    }

    private static func checkName(
        _ controller: ControllerPicture, _ destination: ServicePicture
    ) throws(UpgradeError) {
        let twin = destination.controllers.first {
            $0.family == controller.family && $0.name == controller.name
                && $0.vuid != controller.vuid
        }
        if let twin {
            throw UpgradeError(
                "the destination has a controller \"\(twin.name)\" on \(twin.vuid), the source one "
                    + "on \(controller.vuid); destroy one of them")
        }
    }
}

extension ConfigurationCall {
    /// Whether a bdev of its own kind elsewhere has other contents.
    var isVolatile: Bool { method == "bdev_null_create" }

    /// The call that undoes it; nil when nothing has to be undone.
    var deletion: ConfigurationCall? {
        switch method {
        case "bdev_malloc_create", "bdev_null_create", "bdev_aio_create", "bdev_uring_create",
            "bdev_delay_create":
            ConfigurationCall(
                method.replacing("_create", by: "_delete"), ["name": params["name"] ?? .null])
        case "bdev_error_create":
            ConfigurationCall(
                "bdev_error_delete", ["name": .string("EE_" + (text("base_name") ?? ""))])
        case "bdev_nvme_start_discovery":
            ConfigurationCall("bdev_nvme_stop_discovery", ["name": params["name"] ?? .null])
        case "bdev_nvme_attach_controller":
            // Path by path; the bdevs go with the last one.
            ConfigurationCall(
                "bdev_nvme_detach_controller",
                JSONObject(
                    params.members.filter {
                        ["name", "traddr", "trsvcid", "subnqn"].contains($0.key)
                    }))
        case "nvme_subsystem_create":
            ConfigurationCall("nvme_subsystem_destroy", ["nqn": params["nqn"] ?? .null])
        case "nvme_namespace_create":
            ConfigurationCall(
                "nvme_namespace_destroy",
                ["nqn": params["nqn"] ?? .null, "nsid": params["nsid"] ?? .null])
        default: nil
        }
    }
}

extension String {
    fileprivate func replacing(_ ending: String, by other: String) -> String {
        hasSuffix(ending) ? dropLast(ending.count) + other : self
    }
}
