internal import Card
internal import Hardware
internal import JSONRPC

/// A card's snapshot as JSON. What is read is a stranger's: every member is checked here or by
/// `Card.init(_:restoring:)`.
enum CardCoding {
    static func encode(_ snapshot: CardSnapshot) -> JSONValue {
        [
            "host_on": .bool(snapshot.isHostOn),
            "virtual_functions": .array(
                snapshot.virtualFunctions.map { saved in
                    [
                        "pf": .string(saved.pf), "free": JSONValue(saved.freeVectorCount),
                        "enabled": JSONValue(saved.enabledCount),
                        "vectors": .array(saved.vectorCounts.map { JSONValue($0) }),
                    ]
                }),
            "hotplug_functions": .array(snapshot.hotplugFunctions.map(encode)),
        ]
    }

    private static func encode(_ saved: CardSnapshot.HotplugFunction) -> JSONValue {
        [
            "kind": .string(saved.kind.rawValue), "slot": JSONValue(saved.slot),
            "pf_index": JSONValue(saved.pfIndex), "vectors": JSONValue(saved.vectorCount),
            "state": .string(saved.state.rawValue), "vid": JSONValue(Int(saved.pci.vendorID)),
            "id": JSONValue(Int(saved.pci.deviceID)),
            "ssvid": JSONValue(Int(saved.pci.subsystemVendorID)),
            "ssid": JSONValue(Int(saved.pci.subsystemID)),
            "revid": JSONValue(Int(saved.pci.revisionID)),
            "class_code": JSONValue(Int(saved.pci.classCode)),
        ]
    }

    /// Nil when a member is missing or of another type.
    static func snapshot(_ value: JSONValue) -> CardSnapshot? {
        guard let isHostOn = value["host_on"]?.bool,
            let virtual = value["virtual_functions"]?.array,
            let hotplug = value["hotplug_functions"]?.array
        else { return nil }
        let virtualFunctions = virtual.compactMap(virtualFunctions)
        let hotplugFunctions = hotplug.compactMap(hotplugFunction)
        guard virtualFunctions.count == virtual.count, hotplugFunctions.count == hotplug.count
        else { return nil }
        return CardSnapshot(
            isHostOn: isHostOn, virtualFunctions: virtualFunctions,
            hotplugFunctions: hotplugFunctions)
    }

    private static func virtualFunctions(_ value: JSONValue) -> CardSnapshot.VirtualFunctions? {
        guard let pf = value.text("pf"), let free = value.int("free"),
            let enabled = value.int("enabled"), let vectors = value["vectors"]?.array
        else { return nil }
        let counts = vectors.compactMap { $0.unsigned.flatMap { Int(exactly: $0) } }
        guard counts.count == vectors.count else { return nil }
        return CardSnapshot.VirtualFunctions(
            pf: pf, freeVectorCount: free, enabledCount: enabled, vectorCounts: counts)
    }

    private static func hotplugFunction(_ value: JSONValue) -> CardSnapshot.HotplugFunction? {
        guard let kind = value.text("kind").flatMap(FunctionIdentity.Kind.init(rawValue:)),
            let slot = value.int("slot"), let pfIndex = value.int("pf_index"),
            let vectors = value.int("vectors"),
            let state = value.text("state").flatMap(HotplugState.init(rawValue:)),
            let vendor = value.int("vid").flatMap(UInt16.init(exactly:)),
            let device = value.int("id").flatMap(UInt16.init(exactly:)),
            let subsystemVendor = value.int("ssvid").flatMap(UInt16.init(exactly:)),
            let subsystem = value.int("ssid").flatMap(UInt16.init(exactly:)),
            let revision = value.int("revid").flatMap(UInt8.init(exactly:)),
            let classCode = value.int("class_code").flatMap(UInt32.init(exactly:))
        else { return nil }
        return CardSnapshot.HotplugFunction(
            kind: kind, slot: slot, pfIndex: pfIndex, vectorCount: vectors, state: state,
            pci: PCIIdentity(
                vendorID: vendor, deviceID: device, subsystemVendorID: subsystemVendor,
                subsystemID: subsystem, revisionID: revision, classCode: classCode))
    }
}
