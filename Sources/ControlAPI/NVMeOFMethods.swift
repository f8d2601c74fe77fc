internal import Bdev
public import JSONRPC
public import NVMeOF
internal import Platform

/// Bdevs of remote NVMe controllers (bdev_nvme.json).
extension MethodRegistry {
    func registerRemotes(_ context: StorageContext, _ facts: any ServiceFacts) {
        registerRemoteOptions(context)
        registerRemoteQueries(context, facts)
        registerDiscovery(context)
        register("bdev_nvme_attach_controller") { parameters in
            let options = try context.pathOptions(parameters)
            let multipath = RemoteControllers.Multipath(
                rawValue: parameters.string("multipath"))
            let limit = parameters.unsigned("max_bdevs")
            if limit == 0 {
                throw RPCError.errno(
                    ErrorNumber.invalid, message: "max_bdevs cannot be zero")
            }
            let names = try await context.remotes.attach(
                parameters.string("name"), options, multipath ?? .failover,
                bdevLimit: Int(limit))
            return JSONValue(strings: names)
        }
        register("bdev_nvme_detach_controller") { parameters in
            let name = parameters.string("name")
            let description = try PathDescription(parameters)
            let all = await context.remotes.all.first { $0.name == name }
            let bdevs = (try? await context.remotes.bdevNames(name)) ?? []
            if all?.paths.allSatisfy(description.fits) == true {
                for bdev in bdevs { _ = try context.deletable(bdev) { $0 is RemoteNamespace } }
            }
            try await context.remotes.detach(name, where: description.fits)
            for bdev in bdevs where (try? context.bdevs.device(bdev)) == nil {
                context.forget(bdev)
            }
            return true
        }
        register("bdev_nvme_reset_controller") { parameters in
            let id = parameters.optionalUnsigned("cntlid").map { UInt16($0) }
            try await context.remotes.reset(parameters.string("name"), controllerID: id)
            return true
        }
    }

    private func registerRemoteOptions(_ context: StorageContext) {
        register("bdev_nvme_set_options") { parameters in
            if await !context.remotes.all.isEmpty {
                throw RPCError.wrongState(
                    "RPC not permitted with nvme controllers already attached")
            }
            var values = context.remoteDefaults.values
            values.timers = values.timers.with(parameters)
            values.commandTimeout = try values.commandTimeout.with(parameters)
            if let milliseconds = parameters.optionalUnsigned("keep_alive_timeout_ms") {
                values.timers.keepAliveMilliseconds = milliseconds
            }
            if let refusal = values.timers.refusal {
                throw RPCError.errno(ErrorNumber.invalid, message: refusal)
            }
            if let entries = parameters.optionalUnsigned("io_queue_requests") {
                guard 2...4096 ~= entries else {
                    throw RPCError.errno(
                        ErrorNumber.invalid,
                        message: "io_queue_requests \(entries): it is 2 to 4096")
                }
                values.queueEntries = Int(entries)
            }
            if let count = parameters.optionalSigned("bdev_retry_count") {
                guard count >= -1 else {
                    throw RPCError.errno(
                        ErrorNumber.invalid, message: "bdev_retry_count \(count): -1 or more")
                }
                await context.remotes.setRetryLimit(count < 0 ? nil : Int(count))
            }
            values.given = parameters.given
            context.remoteDefaults.values = values
            return true
        }
        register("bdev_nvme_set_multipath_policy") { parameters in
            if parameters.string("selector") == "queue_depth" {
                throw RPCError.errno(
                    ErrorNumber.notSupported,
                    message: "selector queue_depth is not served; use round_robin")
            }
            var policy = MultipathPolicy()
            policy.spread =
                MultipathPolicy.Spread(rawValue: parameters.string("policy")) ?? .activePassive
            policy.requestsInTurn = Int(parameters.unsigned("rr_min_io"))
            try await context.remotes.setPolicy(policy, of: parameters.string("name"))
            return true
        }
    }
}

extension PathFault: AnswerableError {
    public var answer: RPCError { .errno(code, message: reason) }
}

extension StorageContext {
    /// The path that an attachment describes. Its refusals are SPDK's, in its words where it has
    /// some.
    func pathOptions(_ parameters: Parameters) throws(RPCError) -> PathOptions {
        for key in ["psk", "dhchap_key", "dhchap_ctrlr_key"] where parameters.has(key) {
            throw .errno(
                ErrorNumber.notSupported,
                message: "\(key): there is neither TLS nor authentication; leave it out and use a "
                    + "network that nobody else is on")
        }
        guard let subsystem = parameters.optionalString("subnqn"), !subsystem.isEmpty else {
            throw .errno(
                ErrorNumber.invalid, message: "subnqn is missing; give the NQN of the subsystem")
        }
        let queueCount = parameters.unsigned("num_io_queues")
        guard 1...65536 ~= queueCount else {
            throw .errno(
                ErrorNumber.invalid, message: "num_io_queues out of bounds, min: 1 max: 65536")
        }
        var options = try targetOptions(parameters, subsystem: subsystem, standardPort: "4420")
        options.hostAddress = parameters.optionalString("hostaddr") ?? ""
        options.hasHeaderDigest = parameters.flag("hdgst")
        options.hasDataDigest = parameters.flag("ddgst")
        options.queueCount = Int(queueCount)
        if options.transport == .rdma {
            for (key, isGiven) in [
                ("hostaddr", !options.hostAddress.isEmpty), ("hdgst", options.hasHeaderDigest),
                ("ddgst", options.hasDataDigest),
            ] where isGiven {
                throw .errno(
                    ErrorNumber.notSupported,
                    message: "\(key) is of trtype tcp; over RDMA leave it out: the device that has "
                        + "a route to traddr is used, and its packets carry checksums")
            }
        }
        if let time = parameters.optionalUnsigned("fabrics_connect_timeout_us") {
            options.timers.patienceMilliseconds = min(max(1, time / 1000), 3_600_000)
        }
        return options
    }

    /// What every call about a target says of it.
    func targetOptions(
        _ parameters: Parameters, subsystem: String, standardPort: String
    ) throws(RPCError) -> PathOptions {
        let description = try PathDescription(parameters)
        let address = parameters.string("traddr")
        guard let family = PathOptions.Family(of: address),
            description.family == nil || description.family == family
        else {
            throw .errno(
                ErrorNumber.invalid,
                message: "Failed to parse traddr: \(address) is no numeric address"
                    + (description.family.map { " of adrfam \($0.rawValue)" } ?? ""))
        }
        let service = parameters.optionalString("trsvcid") ?? standardPort
        guard let port = UInt16(service), port > 0 else {
            throw .errno(ErrorNumber.invalid, message: "Failed to parse trsvcid: \(service)")
        }
        let defaults = remoteDefaults.values
        var options = PathOptions(
            address: address, port: port, subsystem: subsystem,
            host: parameters.optionalString("hostnqn") ?? remoteDefaults.host)
        options.transport = description.transport ?? .tcp
        options.family = family
        options.queueEntries = defaults.queueEntries
        options.commandTimeout = defaults.commandTimeout
        options.socket = sockets.connectionOptions
        options.pinsAlways = description.pinsAlways
        if options.pinsAlways && options.socket.pinnedByteCount == 0 {
            options.socket.pinnedByteCount =
                sockets.pinnedByteCount ?? PathOptions.usualPinnedByteCount
        }
        options.timers = defaults.timers.with(parameters)
        if let refusal = options.timers.refusal {
            throw .errno(ErrorNumber.invalid, message: refusal)
        }
        return options
    }

    /// Whether the path that an attachment describes is there exactly so.
    func isAttached(_ parameters: Parameters) async -> Bool {
        guard var wanted = try? pathOptions(parameters) else { return false }
        let name = parameters.string("name")
        for path in await remotes.all.first(where: { $0.name == name })?.paths ?? [] {
            // A host that is not named is whichever it was.
            if !parameters.has("hostnqn") { wanted.host = path.options.host }
            if path.options == wanted { return true }
        }
        return false
    }

    /// The calls that attach everything again.
    var savedRemotes: [JSONValue] {
        get async {
            var calls: [JSONValue] = []
            if let given = remoteDefaults.values.given {
                calls.append(["method": "bdev_nvme_set_options", "params": .object(given)])
            }
            calls += await savedDiscoveries
            for listing in await remotes.all {
                for path in listing.paths where path.discovery == nil {
                    let params = path.options.savedParams(listing.name)
                    calls.append(
                        ["method": "bdev_nvme_attach_controller", "params": .object(params)])
                }
                guard listing.policy != MultipathPolicy(),
                    let bdev = try? await remotes.bdevNames(listing.name).first
                else { continue }
                calls.append([
                    "method": "bdev_nvme_set_multipath_policy",
                    "params": [
                        "name": .string(bdev), "policy": .string(listing.policy.spread.rawValue),
                        "rr_min_io": JSONValue(listing.policy.requestsInTurn),
                    ],
                ])
            }
            return calls
        }
    }
}

/// Parameters that say which path is meant.
struct PathDescription {
    let transport: PathOptions.Transport?
    /// It was called nvda_tcp.
    let pinsAlways: Bool
    let family: PathOptions.Family?
    private let address: String?
    private let port: String?
    private let subsystem: String?
    private let hostAddress: String?

    init(_ parameters: Parameters) throws(RPCError) {
        transport = try parameters.optionalString("trtype").map(Self.transport)
        pinsAlways = parameters.optionalString("trtype")?.lowercased() == "nvda_tcp"
        switch parameters.optionalString("adrfam")?.lowercased() {
        case nil: family = nil
        case "ipv4"?: family = .ipv4
        case "ipv6"?: family = .ipv6
        case let word?:
            throw .errno(ErrorNumber.invalid, message: "Failed to parse adrfam: \(word)")
        }
        address = parameters.optionalString("traddr")
        port = parameters.optionalString("trsvcid")
        func known(_ key: String) -> String? {
            parameters.knows(key) ? parameters.optionalString(key) : nil
        }
        subsystem = known("subnqn")
        hostAddress = known("hostaddr")
        let limits = [
            "traddr": 256, "trsvcid": 32, "subnqn": 223, "hostnqn": 223, "hostaddr": 256,
            "hostsvcid": 32,
        ]
        for (key, limit) in limits where parameters.knows(key) {
            guard let text = parameters.optionalString(key), text.utf8.count > limit else {
                continue
            }
            throw .errno(ErrorNumber.invalid, message: "\(key) too long: \(text)")
        }
    }

    private static func transport(_ type: String) throws(RPCError) -> PathOptions.Transport {
        switch type.lowercased() {
        case "tcp", "nvda_tcp": return .tcp
        case "rdma": return .rdma
        case "pcie":
            throw .errno(
                ErrorNumber.notSupported,
                message: "trtype \(type): remote controllers are reached over a network; use "
                    + "trtype tcp or rdma")
        default: throw .errno(ErrorNumber.invalid, message: "Failed to parse trtype: \(type)")
        }
    }

    @Sendable func fits(_ path: RemotePath) -> Bool {
        let options = path.options
        return (transport ?? options.transport) == options.transport
            && (address ?? options.address) == options.address
            && (port ?? "\(options.port)") == "\(options.port)"
            && (subsystem ?? options.subsystem) == options.subsystem
            && (hostAddress ?? options.hostAddress) == options.hostAddress
            && (family ?? options.family) == options.family
    }
}

extension PathOptions.Family {
    /// Nil for text that is no numeric address.
    fileprivate init?(of address: String) {
        switch TCPSocket.family(of: address) {
        case .ipv4?: self = .ipv4
        case .ipv6?: self = .ipv6
        case nil: return nil
        }
    }
}
