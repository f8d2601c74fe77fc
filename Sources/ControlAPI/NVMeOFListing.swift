internal import Bdev
internal import JSONRPC
internal import NVMeOF
internal import Platform

/// What the queries say of remote controllers, in SPDK's order of members.
extension MethodRegistry {
    func registerRemoteQueries(_ context: StorageContext, _ facts: any ServiceFacts) {
        register("bdev_nvme_get_controllers") { parameters in
            var listed = await context.remotes.all
            if let name = parameters.optionalString("name") {
                listed = listed.filter { $0.name == name }
                if listed.isEmpty {
                    // The sign is SPDK's.
                    throw RPCError(
                        code: Int(ErrorNumber.invalid), message: "Controller \(name) does not exist"
                    )
                }
            }
            return .array(
                listed.map { listing in
                    var entry: JSONObject = [
                        "name": .string(listing.name),
                        "ctrlrs": .array(listing.paths.map(\.json)),
                    ]
                    // Ours: why controllers wait.
                    if !listing.awaited.isEmpty {
                        entry.append(
                            "awaited_associations", .array(listing.awaited.map(\.json)))
                    }
                    return .object(entry)
                })
        }
        register("bdev_nvme_get_io_paths") { parameters in
            var remotes = context.bdevs.devices.filter { $0.backend is RemoteNamespace }
            if let name = parameters.optionalString("name") {
                remotes = remotes.filter { $0.name == name || $0.aliases.contains(name) }
                if remotes.isEmpty {
                    throw PathFault(
                        ErrorNumber.noDevice, "no bdev \"\(name)\" of a remote controller")
                }
            }
            let groups = await facts.reactors().map { reactor -> JSONValue in
                let paths = remotes.flatMap { device in
                    device.ioPaths(threadID: Int32(reactor.threadID))
                }
                return ["thread": "reactor_\(reactor.core)", "io_paths": .array(paths)]
            }
            return ["poll_groups": .array(groups)]
        }
    }
}

extension PathOptions.Transport {
    /// As SPDK prints it.
    var name: String { rawValue.uppercased() }
}

extension PathOptions {
    var trid: JSONObject {
        [
            "trtype": .string(transport.name), "adrfam": .string(family.rawValue),
            "traddr": .string(address), "trsvcid": .string("\(port)"), "subnqn": .string(subsystem),
        ]
    }

    /// What attaches the path again.
    func savedParams(_ name: String) -> JSONObject {
        var params: JSONObject = ["name": .string(name)]
        for member in trid.members { params.append(member.key, member.value) }
        if pinsAlways { params["trtype"] = "NVDA_TCP" }
        params.append("hostnqn", .string(host))
        if !hostAddress.isEmpty { params.append("hostaddr", .string(hostAddress)) }
        if hasHeaderDigest { params.append("hdgst", true) }
        if hasDataDigest { params.append("ddgst", true) }
        params.append("multipath", "multipath")
        params.append("num_io_queues", JSONValue(queueCount))
        params.append(
            "fabrics_connect_timeout_us", JSONValue(timers.patienceMilliseconds * 1000))
        params.append("ctrlr_loss_timeout_sec", JSONValue(timers.controllerLossSeconds))
        params.append("reconnect_delay_sec", JSONValue(timers.reconnectDelaySeconds))
        params.append("fast_io_fail_timeout_sec", JSONValue(timers.fastIOFailSeconds))
        return params
    }
}

extension AwaitedAssociation {
    fileprivate var json: JSONValue {
        var entry: JSONObject = [
            "trid": .object(options.trid), "cntlid": JSONValue(controllerID),
        ]
        if let millisecondsLeft { entry.append("ms_left", JSONValue(millisecondsLeft)) }
        return .object(entry)
    }
}

extension RemotePath {
    fileprivate var json: JSONValue {
        let work = work
        return [
            "state": .string(phase.rawValue), "trid": .object(options.trid),
            "cntlid": JSONValue(facts.id),
            "host": [
                "nqn": .string(options.host), "addr": .string(options.hostAddress), "svcid": "",
            ],
            // Ours: data that went from and to the memory of requests, and through a buffer.
            "bytes_direct": JSONValue(work.direct), "bytes_staged": JSONValue(work.staged),
            // Ours: what that cost.
            "commands": JSONValue(work.commands), "work_requests": JSONValue(work.workRequests),
            "doorbells": JSONValue(work.doorbells), "polls": JSONValue(work.polls),
            "idle_polls": JSONValue(work.idlePolls),
            "system_calls": JSONValue(work.systemCalls),
            "zero_copy_sends": JSONValue(work.pinnedSends),
            "zero_copy_copied": JSONValue(work.copiedSends),
        ]
    }
}

extension RemoteNamespace {
    /// As bdev_get_bdevs says it.
    var driverSpecific: JSONObject {
        [
            "nvme": .array(ways.map(describe)),
            "mp_policy": .string(policy.spread.rawValue),
        ]
    }

    private func describe(_ way: Way) -> JSONValue {
        let facts = way.path.facts
        func has(_ bit: UInt16) -> JSONValue { JSONValue(facts.adminCommands & bit == 0 ? 0 : 1) }
        var space: JSONObject = ["id": JSONValue(id)]
        if facts.hasAccessStates { space.append("ana_state", .string(way.accessName)) }
        space.append("can_share", .bool(isShared))
        return [
            "trid": .object(way.path.options.trid),
            "ctrlr_data": [
                "cntlid": JSONValue(facts.id),
                "vendor_id": .string(
                    "0x" + String(0x10000 + UInt32(facts.vendorID), radix: 16).dropFirst()),
                "model_number": .string(facts.model), "serial_number": .string(facts.serial),
                "firmware_revision": .string(facts.firmware),
                "subnqn": .string(facts.subsystem),
                "oacs": [
                    "security": has(1), "format": has(2), "firmware": has(4), "ns_manage": has(8),
                ],
                "multi_ctrlr": .bool(facts.sharing & 2 != 0),
                "ana_reporting": .bool(facts.hasAccessStates),
            ],
            "vs": ["nvme_version": .string("\(facts.version >> 16).\(facts.version >> 8 & 255)")],
            "ns_data": .object(space),
        ]
    }
}

extension BlockDevice {
    /// The ways of one reactor to a remote namespace; none when it does not use it.
    fileprivate func ioPaths(threadID: Int32) -> [JSONValue] {
        guard let namespace = backend as? RemoteNamespace else { return [] }
        return namespace.ways.filter { $0.path.isUsed(by: threadID) }.map { way in
            [
                "bdev_name": .string(name), "cntlid": JSONValue(way.path.facts.id),
                "current": .bool(way.isCurrent), "connected": .bool(way.isConnected),
                "accessible": .bool(way.isAccessible),
                "transport": [
                    "trtype": .string(way.path.options.transport.name),
                    "traddr": .string(way.path.options.address),
                    "trsvcid": .string("\(way.path.options.port)"),
                    "adrfam": .string(way.path.options.family.rawValue),
                ],
            ]
        }
    }
}
