internal import Bdev
internal import JSONRPC
internal import NVMeOF
internal import Platform

/// Discovery services (bdev_nvme.json).
extension MethodRegistry {
    func registerDiscovery(_ context: StorageContext) {
        register("bdev_nvme_start_discovery") { parameters in
            let options = try context.targetOptions(
                parameters, subsystem: DiscoveryLog.subsystem, standardPort: "8009")
            let limit = parameters.optionalUnsigned("attach_timeout_ms") ?? 0
            try await context.discoveries.start(
                DiscoveryServices.Request(
                    name: parameters.string("name"), options: options,
                    subsystems: parameters.optionalStrings("subnqns") ?? []),
                waits: limit > 0 || parameters.flag("wait_for_attach"),
                limit: limit > 0 ? .milliseconds(min(limit, UInt64(Int32.max))) : nil)
            return true
        }
        register("bdev_nvme_stop_discovery") { parameters in
            let name = parameters.string("name")
            var bdevs: [String] = []
            for way in await context.remotes.discovered(by: name) {
                bdevs += (try? await context.remotes.bdevNames(way.name)) ?? []
            }
            for bdev in bdevs { _ = try context.deletable(bdev) { $0 is RemoteNamespace } }
            try await context.discoveries.stop(name)
            for bdev in bdevs where (try? context.bdevs.device(bdev)) == nil {
                context.forget(bdev)
            }
            return true
        }
        register("bdev_nvme_get_discovery_info") { _ in
            .array(
                await context.discoveries.all.map { service in
                    var entry: JSONObject = [
                        "name": .string(service.name), "trid": .object(service.options.trid),
                        "referrals": .array(
                            service.referrals.map { ["trid": .object($0.trid)] }),
                    ]
                    // Ours: why something is not attached.
                    if let fault = service.fault {
                        entry.append("fault", .string(fault.reason))
                    }
                    return .object(entry)
                })
        }
    }
}

extension DiscoveryLog.Place {
    fileprivate var trid: JSONObject {
        [
            "trtype": .string(transport.name), "adrfam": .string(family.rawValue),
            "traddr": .string(address), "trsvcid": .string("\(port)"), "subnqn": .string(subsystem),
        ]
    }
}

extension StorageContext {
    /// Whether the service that a call starts is there at this place.
    func isFollowed(_ parameters: Parameters) async -> Bool {
        guard
            let wanted = try? targetOptions(
                parameters, subsystem: DiscoveryLog.subsystem, standardPort: "8009")
        else { return false }
        let name = parameters.string("name")
        return await discoveries.all.contains { service in
            service.name == name && service.options.isSamePath(as: wanted)
        }
    }

    /// The calls that follow the discovery services again. What comes after them needs the disks,
    /// by the same names.
    var savedDiscoveries: [JSONValue] {
        get async {
            await discoveries.all.map { service in
                let (options, timers) = (service.options, service.options.timers)
                return [
                    "method": "bdev_nvme_start_discovery",
                    "params": [
                        "name": .string(service.name), "hostnqn": .string(options.host),
                        "trtype": .string(options.transport.name),
                        "adrfam": .string(options.family.rawValue),
                        "traddr": .string(options.address), "trsvcid": .string("\(options.port)"),
                        "wait_for_attach": true,
                        "ctrlr_loss_timeout_sec": JSONValue(timers.controllerLossSeconds),
                        "reconnect_delay_sec": JSONValue(timers.reconnectDelaySeconds),
                        "fast_io_fail_timeout_sec": JSONValue(timers.fastIOFailSeconds),
                        "subnqns": JSONValue(strings: service.subsystems),
                    ],
                ]
            }
        }
    }
}
