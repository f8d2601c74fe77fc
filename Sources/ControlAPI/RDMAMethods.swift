internal import Emulation
internal import Hardware
internal import JSONRPC

/// What the card's RDMA devices can give, and what this service takes of one (rdma.json).
extension MethodRegistry {
    func registerRDMA(_ context: StorageContext) {
        register("softsnap_rdma_resources") { _ in
            .array(
                try await context.manager.rdmaDevices().map { device in
                    [
                        "name": .string(device.name), "kind": .string(device.kind),
                        "page_size": JSONValue(device.pageByteCount),
                        "bar_kib": JSONValue(device.barKiB),
                        "advertised_qps": JSONValue(device.advertisedQueuePairs),
                        "usable_qps": JSONValue(device.usableQueuePairs),
                        "used_qps": JSONValue(device.queuePairCount),
                    ]
                })
        }
        register("softsnap_data_path_get") { _ in
            let report = await context.controllers.dataPathReport()
            return [
                "data_path": .string(report.path.rawValue),
                "device": report.device.map { .string($0) } ?? .null,
                "queue_pairs": JSONValue(report.sites.reduce(0) { $0 + $1.queuePairCount }),
                "reactors": .array(
                    report.sites.map { site in
                        [
                            "core": JSONValue(site.core),
                            "queue_pairs": JSONValue(site.queuePairCount),
                            "queues": JSONValue(site.queueCount),
                            "staging_bytes": JSONValue(site.stagingByteCount),
                            "transfers": JSONValue(site.transferCount),
                            "doorbells": JSONValue(site.doorbellCount),
                            "bytes_read": JSONValue(site.readByteCount),
                            "bytes_written": JSONValue(site.writtenByteCount),
                        ]
                    }),
            ]
        }
    }
}

extension DataPath {
    /// Of the bytes that a controller has moved, those that went through a buffer of the service
    /// between host memory and the bdev.
    func staged(of byteCount: UInt64) -> UInt64 { self == .mapped ? 0 : byteCount }
}
