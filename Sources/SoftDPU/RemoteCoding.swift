internal import Hardware
internal import JSONRPC
internal import Memory

/// Registered host memory as members of control messages.
extension ControlCoding {
    static func encode(_ remote: RemoteGrants) -> JSONValue {
        [
            "regions": .array(
                remote.regions.map { region in
                    [
                        "guest": JSONValue(region.guestAddress),
                        "bytes": JSONValue(region.byteCount),
                        "user": JSONValue(region.userAddress),
                        "address": JSONValue(region.place.address),
                        "key": JSONValue(region.place.key),
                    ]
                }),
            "address": JSONValue(remote.functionMemory.address),
            "key": JSONValue(remote.functionMemory.key),
            "doorbells": remote.doorbells.map { place in
                ["address": JSONValue(place.address), "key": JSONValue(place.key)]
            } ?? .null,
            "inflight": remote.inflight.map { inflight in
                [
                    "address": JSONValue(inflight.place.address),
                    "key": JSONValue(inflight.place.key),
                    "queues": JSONValue(inflight.queueCount),
                    "size": JSONValue(inflight.queueSize),
                ]
            } ?? .null,
            "refusal": remote.refusal.map { .string($0) } ?? .null,
        ]
    }

    static func remoteGrants(_ value: JSONValue) -> RemoteGrants? {
        if let reason = value.text("refusal") { return RemoteGrants(refusal: reason) }
        guard let regions = value["regions"]?.array, let memory = place(value) else { return nil }
        let decoded = regions.compactMap(region)
        guard decoded.count == regions.count else { return nil }
        var grants = RemoteGrants(regions: decoded, functionMemory: memory)
        if let doorbells = value["doorbells"], !doorbells.isNull {
            guard let place = place(doorbells) else { return nil }
            grants.doorbells = place
        }
        if let inflight = value["inflight"], !inflight.isNull {
            guard let place = place(inflight), let queues = inflight.int("queues"),
                let size = inflight.int("size")
            else { return nil }
            grants.inflight = RemoteGrants.Inflight(
                place: place, queueCount: queues, queueSize: size)
        }
        return grants
    }

    private static func region(_ value: JSONValue) -> RemoteRegion? {
        guard let guest = value.unsigned("guest"), let bytes = value.unsigned("bytes"),
            let user = value.unsigned("user"), let place = place(value)
        else { return nil }
        return RemoteRegion(
            guestAddress: guest, byteCount: bytes, userAddress: user, place: place)
    }

    private static func place(_ value: JSONValue) -> RemoteAddress? {
        guard let address = value.unsigned("address"),
            let key = value.unsigned("key").flatMap(UInt32.init(exactly:))
        else { return nil }
        return RemoteAddress(address, key: key)
    }
}
