internal import Hardware
internal import JSONRPC

/// What controllers offer, as members of control messages.
extension ControlCoding {
    static func encode(_ offer: VirtioOffer) -> JSONObject {
        [
            "controller": .string(offer.controller), "features": JSONValue(offer.features),
            "configuration": JSONValue(hex: offer.configuration),
            "queue_count": JSONValue(offer.queueCount), "queue_size": JSONValue(offer.queueSize),
            "vectors": offer.vectorCount.map { JSONValue($0) } ?? .null,
            "standby": .bool(offer.standsBy), "logs_pages": .bool(offer.logsPages),
        ]
    }

    static func encode(_ offer: NVMeOffer) -> JSONObject {
        [
            "controller": .string(offer.controller), "nvme_queues": JSONValue(offer.queueCount),
            "queue_size": JSONValue(offer.queueSize),
            "memory_bytes": JSONValue(offer.memoryByteCount),
            "vectors": offer.vectorCount.map { JSONValue($0) } ?? .null,
            "standby": .bool(offer.standsBy),
        ]
    }

    /// An offer of either kind; nil when a number is out of its range.
    static func offer(_ value: JSONValue) -> FunctionOffer? {
        if value["nvme_queues"] != nil { return nvmeOffer(value).map { .nvme($0) } }
        return virtioOffer(value).map { .virtio($0) }
    }

    private static func nvmeOffer(_ value: JSONValue) -> NVMeOffer? {
        guard let controller = value.text("controller"), let count = value.int("nvme_queues"),
            count >= 0, count <= 255, let size = value.int("queue_size"), size >= 2,
            size <= 65536, let bytes = value.int("memory_bytes"), bytes > 0, bytes <= 1 << 30
        else { return nil }
        var offer = NVMeOffer(
            controller: controller, queueCount: count, queueSize: size, memoryByteCount: bytes)
        offer.vectorCount = value.int("vectors")
        offer.standsBy = value.flag("standby")
        return offer
    }

    private static func virtioOffer(_ value: JSONValue) -> VirtioOffer? {
        guard let controller = value.text("controller"), let features = value.unsigned("features"),
            let configuration = value.bytes("configuration"), configuration.count <= 256,
            let count = value.int("queue_count"), count > 0, count <= 256,
            let size = value.int("queue_size"), size > 0, size <= 32768
        else { return nil }
        var offer = VirtioOffer(
            controller: controller, features: features, configuration: configuration,
            queueCount: count, queueSize: size)
        offer.vectorCount = value.int("vectors")
        offer.standsBy = value.flag("standby")
        // A service that does not say so does.
        offer.logsPages = value["logs_pages"]?.bool ?? true
        return offer
    }
}
