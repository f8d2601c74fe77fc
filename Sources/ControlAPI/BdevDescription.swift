internal import Bdev
internal import JSONRPC
internal import Memory
internal import NVMeOF

/// What bdev_get_bdevs says of one bdev, in the order of current SPDK.
extension StorageContext {
    func describe(_ device: BlockDevice) -> JSONValue {
        let geometry = device.geometry
        var object: JSONObject = [
            "name": .string(device.name), "aliases": JSONValue(strings: device.aliases),
            "product_name": .string(device.backend.productName),
            "block_size": JSONValue(geometry.blockByteCount),
            "num_blocks": JSONValue(geometry.blockCount),
        ]
        let given = creations.params(of: device.name)
        for hint in MemoryBdevHints.shown { object.append(hint, given?[hint] ?? 0) }
        object.append("uuid", .string(device.uuid.description))
        if device.backend is MallocBackend { object.append("numa_id", -1) }
        object.append("assigned_rate_limits", .object(device.rateLimits.json))
        object.append("claimed", .bool(device.isClaimed))
        if device.isClaimed { object.append("claim_type", "exclusive_write") }
        object.append("zoned", false)
        object.append("supported_io_types", device.supportedOperations)
        object.append("driver_specific", .object(driverSpecific(device, given)))
        return .object(object)
    }

    private func driverSpecific(_ device: BlockDevice, _ given: JSONObject?) -> JSONObject {
        switch device.backend {
        case let file as FileBackend: file.driverSpecific(given)
        case let delay as DelayBackend:
            [
                "delay": [
                    "name": .string(device.name), "base_bdev_name": .string(delay.base.name),
                    "uuid": .string(device.uuid.description),
                    "avg_read_latency": JSONValue(delay.created.averageRead),
                    "p99_read_latency": JSONValue(delay.created.slowRead),
                    "avg_write_latency": JSONValue(delay.created.averageWrite),
                    "p99_write_latency": JSONValue(delay.created.slowWrite),
                ]
            ]
        case let remote as RemoteNamespace: remote.driverSpecific
        case let error as ErrorBackend:
            ["error_disk": ["base_bdev": .string(error.base.name)]]
        default: [:]
        }
    }
}

extension FileBackend {
    fileprivate func driverSpecific(_ given: JSONObject?) -> JSONObject {
        switch options.engine {
        case .uring: ["uring": ["filename": .string(options.path)]]
        case .aio:
            [
                "aio": [
                    "filename": .string(options.path),
                    "block_size_override": .bool(options.blockByteCount != nil),
                    "readonly": .bool(options.isReadOnly),
                    "fallocate": .bool(options.allowsErasing),
                    "nowait": given?["nowait"] ?? false,
                ]
            ]
        }
    }
}

extension RateLimits {
    var json: JSONObject {
        [
            "rw_ios_per_sec": JSONValue(requestsPerSecond),
            "rw_mbytes_per_sec": JSONValue(mebibytesPerSecond),
            "r_mbytes_per_sec": JSONValue(readMebibytesPerSecond),
            "w_mbytes_per_sec": JSONValue(writeMebibytesPerSecond),
        ]
    }
}

extension BlockDevice {
    /// SPDK's names of operations. A reset is what a controller does: it drains its queues.
    fileprivate var supportedOperations: JSONValue {
        let names = [
            "read", "write", "unmap", "flush", "reset", "nvme_admin", "nvme_io", "nvme_io_md",
            "write_zeroes", "zcopy", "get_zone_info", "zone_management", "zone_append", "compare",
            "compare_and_write", "abort", "seek_hole", "seek_data", "copy", "nvme_iov_md",
            "nvme_nssr", "write_uncorrectable",
        ]
        return .object(
            JSONObject(
                names.map { name in
                    let isSupported = BlockOperation(spdkName: name).map(takes) ?? (name == "reset")
                    return (key: name, value: .bool(isSupported))
                }))
    }

    private func takes(_ operation: BlockOperation) -> Bool {
        backend.supports(operation) && !(backend.isReadOnly && operation.changesData)
    }
}

extension BlockOperation {
    /// Nil for what no bdev of ours is asked to do.
    init?(spdkName: String) {
        switch spdkName {
        case "read": self = .read
        case "write": self = .write
        case "flush": self = .flush
        case "unmap": self = .unmap
        case "write_zeroes": self = .writeZeroes
        default: return nil
        }
    }
}
