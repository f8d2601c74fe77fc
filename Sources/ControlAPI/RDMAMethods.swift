internal import Hardware
internal import JSONRPC

/// What the card's RDMA devices can give (rdma.json).
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
    }
}
