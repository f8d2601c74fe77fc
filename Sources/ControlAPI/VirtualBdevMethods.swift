internal import Bdev
internal import JSONRPC
internal import Platform

/// Bdevs on top of others: delay and error injection.
extension MethodRegistry {
    func registerVirtualBdevs(_ context: StorageContext) {
        registerDelay(context)
        registerError(context)
    }

    private func registerDelay(_ context: StorageContext) {
        register("bdev_delay_create") { parameters in
            let latencies = try DelayLatencies(
                averageRead: parameters.unsigned("avg_read_latency"),
                slowRead: parameters.unsigned("p99_read_latency"),
                averageWrite: parameters.unsigned("avg_write_latency"),
                slowWrite: parameters.unsigned("p99_write_latency"))
            let definition = VirtualDevice(
                name: parameters.string("name"), on: parameters.string("base_bdev_name"),
                uuid: UUID.chosen(parameters)
            ) { DelayBackend($0, latencies) }
            try context.define(
                definition, "bdev_delay_create",
                [
                    "name": .string(definition.name),
                    "base_bdev_name": .string(definition.baseName),
                    "uuid": .string(definition.uuid.description),
                    "avg_read_latency": JSONValue(latencies.averageRead),
                    "p99_read_latency": JSONValue(latencies.slowRead),
                    "avg_write_latency": JSONValue(latencies.averageWrite),
                    "p99_write_latency": JSONValue(latencies.slowWrite),
                ])
            return .string(definition.name)
        }
        register("bdev_delay_update_latency") { parameters in
            let device = try? context.bdevs.device(parameters.string("delay_bdev_name"))
            guard let delay = device?.backend as? DelayBackend else {
                throw RPCError.invalidParameters("The requested bdev does not exist.")
            }
            let latency: DelayBackend.Latency =
                switch parameters.string("latency_type") {
                case "avg_read": .averageRead
                case "p99_read": .slowRead
                case "avg_write": .averageWrite
                default: .slowWrite
                }
            delay.update(latency, microseconds: parameters.unsigned("latency_us"))
            return true
        }
        register("bdev_delay_delete") { parameters in
            try await context.undefine(parameters.string("name"), "bdev_delay_create")
            return true
        }
    }

    private func registerError(_ context: StorageContext) {
        register("bdev_error_create") { parameters in
            let base = parameters.string("base_name")
            let definition = VirtualDevice(
                name: "EE_\(base)", on: base, uuid: UUID.chosen(parameters)
            ) { ErrorBackend($0) }
            try context.define(
                definition, "bdev_error_create",
                ["base_name": .string(base), "uuid": .string(definition.uuid.description)])
            return true
        }
        register("bdev_error_delete") { parameters in
            try await context.undefine(parameters.string("name"), "bdev_error_create")
            return true
        }
        register("bdev_error_inject_error") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            guard let disk = device.backend as? ErrorBackend else {
                throw BdevError(ErrorNumber.noDevice, device.name)
            }
            if parameters.string("io_type") == "clear" {
                disk.clear()
            } else {
                disk.inject(
                    try ErrorInjection(
                        parameters.fault(), count: UInt32(parameters.unsigned("num")),
                        queueDepth: parameters.unsigned("queue_depth")),
                    into: BlockOperation(spdkName: parameters.string("io_type")))
            }
            return true
        }
    }
}

extension Parameters {
    /// The fault of bdev_error_inject_error.
    fileprivate func fault() throws(RPCError) -> ErrorInjection.Fault {
        switch string("error_type") {
        case "failure": return .failure
        case "pending": return .pending
        case "corrupt_data":
            return .corruptData(
                offset: unsigned("corrupt_offset"),
                value: UInt8(optionalUnsigned("corrupt_value") ?? 0))
        case "nomem": return .noMemory
        default:
            guard has("nvme_sct") || has("nvme_sc") else {
                throw .errno(
                    ErrorNumber.invalid,
                    message: "nvme_sct or nvme_sc should be specified for NVMe error injection")
            }
            throw .errno(
                ErrorNumber.notSupported,
                message: "error_type nvme_failure: no bdev here has NVMe status codes; use failure")
        }
    }
}

extension StorageContext {
    fileprivate func define(
        _ definition: VirtualDevice, _ method: String, _ params: JSONObject
    ) throws {
        let claim = try names.reserve([definition.name], in: bdevs)
        try bdevs.define(definition)
        claim.end()
        creations.add(definition.name, method, params)
    }

    /// Takes a virtual bdev away, present or waiting for its base; ENODEV when it is of another
    /// kind than `method` makes.
    fileprivate func undefine(_ name: String, _ method: String) async throws {
        let full = (try? bdevs.device(name))?.name ?? name
        guard creations.method(of: full) == method else {
            throw BdevError(ErrorNumber.noDevice, name)
        }
        if (try? bdevs.device(full)) != nil { _ = try deletable(full) { _ in true } }
        try await bdevs.undefine(full)
        forget(full)
    }
}
