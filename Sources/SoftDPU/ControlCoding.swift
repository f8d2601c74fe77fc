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
            "queue_size": JSONValue(identity.queueSizeLimit),
            "vendor": JSONValue(identity.vendorID),
            "subsystem_vendor": JSONValue(identity.subsystemVendorID),
            "controller": listing.controller.map { JSONValue($0) } ?? .null,
            "last_lease": listing.lastLease.map { JSONValue($0) } ?? .null,
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
                queueLimit: queues, queueSizeLimit: value.int("queue_size") ?? 256),
            controller: value.text("controller"), hostSocketPath: value.text("host_socket"),
            isHostConnected: value.flag("host_connected"))
        listing.identity.vendorID = value.int("vendor").flatMap(UInt16.init(exactly:)) ?? 0
        listing.identity.subsystemVendorID =
            value.int("subsystem_vendor").flatMap(UInt16.init(exactly:)) ?? 0
        listing.hotplugState = value.text("hotplug").flatMap(HotplugState.init(rawValue:))
        listing.lastLease = value.unsigned("last_lease")
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

    /// The device id is not called `id` here: that is the number of the message.
    static func encode(_ request: FunctionRequest) -> JSONObject {
        var members: JSONObject = ["kind": .string(request.kind.rawValue)]
        let numbers: [(String, Int?)] = [
            ("vectors", request.vectorCount), ("vid", request.vendorID.map(Int.init)),
            ("device", request.deviceID.map(Int.init)), ("ssid", request.subsystemID.map(Int.init)),
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
        request.deviceID = value.int("device").flatMap(UInt16.init(exactly:))
        request.subsystemID = value.int("ssid").flatMap(UInt16.init(exactly:))
        request.subsystemVendorID = value.int("ssvid").flatMap(UInt16.init(exactly:))
        request.revisionID = value.int("revid").flatMap(UInt8.init(exactly:))
        request.classCode = value.int("class_code").flatMap(UInt32.init(exactly:))
        request.isPlugged = value.flag("plugged")
        return request
    }
}
