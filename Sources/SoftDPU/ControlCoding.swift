internal import Hardware
internal import JSONRPC
internal import Platform

/// The hardware's types as members of control messages. Descriptors are replaced by numbers that
/// an earlier `file` event has introduced.
enum ControlCoding {
    static func encode(_ listing: FunctionListing) -> JSONValue {
        let identity = listing.identity
        return [
            "kind": .string(identity.kind.rawValue), "vuid": .string(identity.vuid),
            "vhca_id": JSONValue(identity.vhcaID), "pf_index": JSONValue(identity.pfIndex),
            "vf_index": identity.vfIndex.map { JSONValue($0) } ?? .null,
            "bdf": .string(identity.bdf), "hotplugged": .bool(identity.isHotplugged),
            "vectors": JSONValue(identity.vectorCount), "queues": JSONValue(identity.queueLimit),
            "controller": listing.controller.map { JSONValue($0) } ?? .null,
            "host_socket": listing.hostSocketPath.map { JSONValue($0) } ?? .null,
            "host_connected": .bool(listing.isHostConnected),
            "hotplug": listing.hotplugState.map { .string($0.rawValue) } ?? .null,
            "enabled": .bool(listing.isEnabled), "bound": .bool(listing.isDriverBound),
            "free_vectors": listing.freeVectorCount.map { JSONValue($0) } ?? .null,
            "enabled_vfs": JSONValue(listing.enabledVFCount),
            "min_vectors": JSONValue(listing.vectorRange.lowerBound),
            "max_vectors": JSONValue(listing.vectorRange.upperBound),
        ]
    }

    static func listing(_ value: JSONValue) -> FunctionListing? {
        guard let kind = value.text("kind").flatMap(FunctionIdentity.Kind.init(rawValue:)),
            let vuid = value.text("vuid"), let vhca = value.int("vhca_id"),
            let pf = value.int("pf_index"), let bdf = value.text("bdf"),
            let vectors = value.int("vectors"), let queues = value.int("queues")
        else { return nil }
        var listing = FunctionListing(
            identity: FunctionIdentity(
                kind: kind, vuid: vuid, vhcaID: vhca, pfIndex: pf, vfIndex: value.int("vf_index"),
                bdf: bdf, isHotplugged: value.flag("hotplugged"), vectorCount: vectors,
                queueLimit: queues),
            controller: value.text("controller"), hostSocketPath: value.text("host_socket"),
            isHostConnected: value.flag("host_connected"))
        listing.hotplugState = value.text("hotplug").flatMap(HotplugState.init(rawValue:))
        listing.isEnabled = value.flag("enabled")
        listing.isDriverBound = value.flag("bound")
        listing.freeVectorCount = value.int("free_vectors")
        listing.enabledVFCount = value.int("enabled_vfs") ?? 0
        if let least = value.int("min_vectors"), let most = value.int("max_vectors"), least <= most
        {
            listing.vectorRange = least...most
        }
        return listing
    }

    static func encode(_ device: RDMADeviceListing) -> JSONValue {
        [
            "name": .string(device.name), "kind": .string(device.kind),
            "page_bytes": JSONValue(device.pageByteCount), "bar_kib": JSONValue(device.barKiB),
            "advertised": JSONValue(device.advertisedQueuePairs),
            "usable": JSONValue(device.usableQueuePairs),
            "used": JSONValue(device.queuePairCount),
        ]
    }

    static func deviceListing(_ value: JSONValue) -> RDMADeviceListing? {
        guard let name = value.text("name"), let kind = value.text("kind"),
            let pages = value.int("page_bytes"), let bar = value.int("bar_kib"),
            let advertised = value.int("advertised"), let usable = value.int("usable"),
            let used = value.int("used")
        else { return nil }
        return RDMADeviceListing(
            name: name, kind: kind, pageByteCount: pages, barKiB: bar,
            advertisedQueuePairs: advertised, usableQueuePairs: usable, queuePairCount: used)
    }

    static func encode(_ request: FunctionRequest) -> JSONObject {
        var members: JSONObject = ["kind": .string(request.kind.rawValue)]
        let numbers: [(String, Int?)] = [
            ("vectors", request.vectorCount), ("vid", request.vendorID.map(Int.init)),
            ("id", request.deviceID.map(Int.init)), ("ssid", request.subsystemID.map(Int.init)),
            ("ssvid", request.subsystemVendorID.map(Int.init)),
            ("revid", request.revisionID.map(Int.init)),
            ("class_code", request.classCode.map(Int.init)),
        ]
        for case (let name, let value?) in numbers { members.append(name, JSONValue(value)) }
        members.append("plugged", .bool(request.isPlugged))
        return members
    }

    static func functionRequest(_ value: JSONValue) -> FunctionRequest? {
        guard let kind = value.text("kind").flatMap(FunctionIdentity.Kind.init(rawValue:)) else {
            return nil
        }
        var request = FunctionRequest(kind: kind)
        request.vectorCount = value.int("vectors")
        request.vendorID = value.int("vid").flatMap(UInt16.init(exactly:))
        request.deviceID = value.int("id").flatMap(UInt16.init(exactly:))
        request.subsystemID = value.int("ssid").flatMap(UInt16.init(exactly:))
        request.subsystemVendorID = value.int("ssvid").flatMap(UInt16.init(exactly:))
        request.revisionID = value.int("revid").flatMap(UInt8.init(exactly:))
        request.classCode = value.int("class_code").flatMap(UInt32.init(exactly:))
        request.isPlugged = value.flag("plugged")
        return request
    }

    static func encode(_ offer: VirtioOffer) -> JSONObject {
        [
            "controller": .string(offer.controller), "features": JSONValue(offer.features),
            "configuration": JSONValue(hex: offer.configuration),
            "queue_count": JSONValue(offer.queueCount), "queue_size": JSONValue(offer.queueSize),
            "vectors": offer.vectorCount.map { JSONValue($0) } ?? .null,
        ]
    }

    static func offer(_ value: JSONValue) -> VirtioOffer? {
        guard let controller = value.text("controller"), let features = value.unsigned("features"),
            let configuration = value.bytes("configuration"), configuration.count <= 256,
            let count = value.int("queue_count"), count > 0, count <= 256,
            let size = value.int("queue_size"), size > 0, size <= 32768
        else { return nil }
        var offer = VirtioOffer(
            controller: controller, features: features, configuration: configuration,
            queueCount: count, queueSize: size)
        offer.vectorCount = value.int("vectors")
        return offer
    }

    /// - Parameter number: the number of a descriptor, introduced when it is new.
    static func encode(
        _ state: VirtioFunctionState, number: (SharedDescriptor) -> UInt64
    ) -> JSONObject {
        [
            "generation": JSONValue(state.generation), "epoch": JSONValue(state.epoch),
            "features": JSONValue(state.driverFeatures),
            "memory_generation": JSONValue(state.memoryGeneration),
            "memory": .array(
                state.memory.map { grant in
                    [
                        "guest": JSONValue(grant.guestAddress), "bytes": JSONValue(grant.byteCount),
                        "user": JSONValue(grant.userAddress),
                        "offset": JSONValue(grant.fileOffset),
                        "file": JSONValue(number(grant.file)),
                    ]
                }),
            "queues": .array(state.queues.map { encode($0, number: number) }),
            "inflight": state.inflight.map { grant in
                [
                    "bytes": JSONValue(grant.byteCount), "offset": JSONValue(grant.fileOffset),
                    "queues": JSONValue(grant.queueCount), "size": JSONValue(grant.queueSize),
                    "file": JSONValue(number(grant.file)),
                ]
            } ?? .null,
        ]
    }

    private static func encode(
        _ queue: QueueGrant, number: (SharedDescriptor) -> UInt64
    ) -> JSONValue {
        [
            "run": JSONValue(queue.run), "running": .bool(queue.isRunning),
            "size": JSONValue(queue.size), "descriptors": JSONValue(queue.descriptorArea),
            "driver": JSONValue(queue.driverArea), "device": JSONValue(queue.deviceArea),
            "base": JSONValue(queue.base),
            "kick": queue.kick.map { JSONValue(number($0)) } ?? .null,
            "call": queue.call.map { JSONValue(number($0)) } ?? .null,
        ]
    }

    /// - Parameter files: the descriptors introduced so far.
    static func state(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> VirtioFunctionState? {
        guard let generation = value.unsigned("generation"), let epoch = value.unsigned("epoch"),
            let features = value.unsigned("features"),
            let memoryGeneration = value.unsigned("memory_generation"),
            let memory = value["memory"]?.array, let queues = value["queues"]?.array
        else { return nil }
        let grants = memory.compactMap { memoryGrant($0, files: files) }
        let rings = queues.enumerated().compactMap { queue($1, index: $0, files: files) }
        guard grants.count == memory.count, rings.count == queues.count else { return nil }
        return VirtioFunctionState(
            generation: generation, epoch: epoch, driverFeatures: features,
            memoryGeneration: memoryGeneration, memory: grants, queues: rings,
            inflight: value["inflight"].flatMap { inflightGrant($0, files: files) })
    }

    private static func memoryGrant(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> MemoryGrant? {
        guard let guest = value.unsigned("guest"), let bytes = value.unsigned("bytes"),
            let user = value.unsigned("user"), let offset = value.unsigned("offset"),
            let file = value.unsigned("file").flatMap({ files[$0] })
        else { return nil }
        return MemoryGrant(
            guestAddress: guest, byteCount: bytes, userAddress: user, fileOffset: offset,
            file: file)
    }

    private static func inflightGrant(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> InflightGrant? {
        guard let bytes = value.unsigned("bytes"), let offset = value.unsigned("offset"),
            let queues = value.int("queues"), let size = value.int("size"),
            let file = value.unsigned("file").flatMap({ files[$0] })
        else { return nil }
        return InflightGrant(
            byteCount: bytes, fileOffset: offset, queueCount: queues, queueSize: size, file: file)
    }

    private static func queue(
        _ value: JSONValue, index: Int, files: [UInt64: SharedDescriptor]
    ) -> QueueGrant? {
        guard let run = value.unsigned("run"), let size = value.int("size"),
            let descriptors = value.unsigned("descriptors"),
            let driver = value.unsigned("driver"), let device = value.unsigned("device"),
            let base = value.unsigned("base")
        else { return nil }
        var queue = QueueGrant(index: index)
        queue.run = run
        queue.isRunning = value.flag("running")
        queue.size = size
        queue.descriptorArea = descriptors
        queue.driverArea = driver
        queue.deviceArea = device
        queue.base = UInt32(truncatingIfNeeded: base)
        queue.kick = value.unsigned("kick").flatMap { files[$0] }
        queue.call = value.unsigned("call").flatMap { files[$0] }
        return queue
    }
}
