import JSONRPC
import LiveUpgrade
import Synchronization

/// Functions of a card, each with the service that has it; a service that listens waits behind.
final class FakeCard: Sendable {
    struct Owners {
        var holder: [String: String] = [:]
        var listener: [String: FakeService] = [:]
        var calls: [String] = []
        /// Numbers of the calls, over all services, that fail; later ones work.
        var failing: Range<Int>?
        /// The number of the call before which this service dies, and comes back at once.
        var dying: (call: Int, service: FakeService)?
    }

    let owners = Mutex(Owners())

    var log: [String] { owners.withLock { $0.calls } }
    func holder(of vuid: String) -> String? { owners.withLock { $0.holder[vuid] } }
    func fail(call: Int?, times: Int = 1) {
        owners.withLock {
            $0.failing = call.map { $0..<($0 + times) }
            $0.calls = []
        }
    }
}

/// A service that keeps objects and controllers as calls, and obeys the rules of hand-over.
final class FakeService: ServiceConnection {
    struct Controller {
        var creation: JSONObject
        var family: String
        var attached: [JSONValue] = []
        var state = "STARTED"
        var part: String?
        var vuid: String { creation["vuid"]?.string ?? "" }
    }

    struct State {
        var objects: [(method: String, params: JSONObject)] = []
        var controllers: [String: Controller] = [:]
        var order: [String] = []
        var handOvers: [String: UInt64] = [:]
        var facts: JSONObject = [:]
        /// Of NVMe functions' memory; nil for a service that does not say.
        var memoryVersion: UInt64?
    }

    let name: String
    let card: FakeCard
    let state = Mutex(State())

    init(_ name: String, on card: FakeCard, dpu: UInt64 = 1) {
        self.name = name
        self.card = card
        state.withLock {
            $0.facts = [
                "instance": .string(name), "dpu": JSONValue(dpu), "embedded": false,
                "virtio_memory_versions": [1], "nvme_memory_versions": [1],
            ]
        }
    }

    func call(
        _ method: String, _ params: JSONObject?
    ) async throws(UpgradeError) -> JSONValue {
        let isReading = ["_get", "_list"].contains { method.contains($0) }
        if !isReading {
            let (fails, dying) = card.owners.withLock { owners in
                owners.calls.append("\(name) \(method)")
                let count = owners.calls.count
                return (
                    owners.failing?.contains(count) == true,
                    owners.dying?.call == count ? owners.dying?.service : nil
                )
            }
            dying?.die()
            if fails || dying === self {
                throw UpgradeError("\(name): \(method): the test says no")
            }
        }
        return try answer(method, params ?? [:])
    }

    private func answer(
        _ method: String, _ params: JSONObject
    ) throws(UpgradeError) -> JSONValue {
        if method.contains("_controller_") { return try controllerCall(method, params) }
        switch method {
        case "spdk_get_version": return ["version": "test"]
        case "softsnap_service_get": return .object(state.withLock { $0.facts })
        case "softsnap_gap_histogram_get": return pauses(params["vuid"]?.string ?? "")
        case "framework_get_config": return configuration(params["name"]?.string ?? "")
        case _ where method.hasSuffix("_delete") || method.hasSuffix("_destroy"):
            return try delete(method, params)
        default:
            try state.withLock { state throws(UpgradeError) in
                if state.objects.contains(where: { $0.method == method && $0.params == params }) {
                    throw UpgradeError("\(method): File exists")
                }
                state.objects.append((method, params))
            }
            return true
        }
    }

    private func delete(_ method: String, _ params: JSONObject) throws(UpgradeError) -> JSONValue {
        try state.withLock { state throws(UpgradeError) in
            let index = state.objects.firstIndex { object in
                object.method.prefix { $0 != "_" } == method.prefix { $0 != "_" }
                    && params.members.allSatisfy { object.params[$0.key] == $0.value }
                    && object.method.hasSuffix("_create")
                    && method.contains(object.method.split(separator: "_")[1])
            }
            guard let index else { throw UpgradeError("\(method): No such device") }
            state.objects.remove(at: index)
        }
        return true
    }

    private func configuration(_ subsystem: String) -> JSONValue {
        state.withLock { state in
            var calls: [JSONValue] = state.objects.filter {
                $0.method.hasPrefix("bdev") == (subsystem == "bdev")
            }.map { ["method": .string($0.method), "params": .object($0.params)] }
            guard subsystem == "snap" else { return .array(calls) }
            for name in state.order {
                guard let controller = state.controllers[name] else { continue }
                calls.append([
                    "method": .string("\(controller.family)_controller_create"),
                    "params": .object(controller.creation),
                ])
                for nsid in controller.attached {
                    calls.append([
                        "method": "nvme_controller_attach_ns",
                        "params": ["ctrl_id": .string(name), "nsid": nsid],
                    ])
                }
            }
            return .array(calls)
        }
    }

    private func pauses(_ vuid: String) -> JSONValue {
        let count = state.withLock { $0.handOvers[vuid] ?? 0 }
        return [["kind": "handover", "count": JSONValue(count), "last_us": 700]]
    }

    // --- controllers ---

    private func controllerCall(
        _ method: String, _ params: JSONObject
    ) throws(UpgradeError) -> JSONValue {
        let parts = method.components(around: "_controller_")
        let id = params["ctrl_id"]?.string ?? ""
        if parts.verb == "list" { return try list(parts.family, params["ctrl_id"]?.string) }
        if parts.verb == "create" { return try create(parts.family, id, params) }
        guard var controller = state.withLock({ $0.controllers[id] }) else {
            throw UpgradeError("\(name): \(method): no controller \(id)")
        }
        switch parts.verb {
        case "attach_ns": controller.attached.append(params["nsid"] ?? .null)
        case "resume":
            if controller.part == "handed_over" { throw UpgradeError("handed over") }
            controller.part = nil
            controller.state = "STARTED"
        case "destroy":
            if params["if_listener"] == true, controller.part != "listener" {
                throw UpgradeError("\(name): if_listener: it stays")
            }
            card.owners.withLock { owners in
                if owners.holder[controller.vuid] == name { owners.holder[controller.vuid] = nil }
                if owners.listener[controller.vuid] === self {
                    owners.listener[controller.vuid] = nil
                }
            }
            state.withLock { state in
                state.controllers[id] = nil
                state.order.removeAll { $0 == id }
            }
            return true
        case "suspend" where params["live_update_notifier"] == true:
            guard let next = card.owners.withLock({ $0.listener[controller.vuid] }) else {
                throw UpgradeError("no listener")
            }
            controller.state = "SUSPENDED"
            controller.part = "handed_over"
            card.owners.withLock { owners in
                owners.holder[controller.vuid] = next.name
                owners.listener[controller.vuid] = nil
            }
            next.takeOver(controller.vuid)
        case "suspend" where params["admin_only"] == true || params["events_only"] == true:
            controller.part = "preparing"
        default: controller.state = "SUSPENDED"
        }
        state.withLock { $0.controllers[id] = controller }
        return true
    }

    private func create(
        _ family: String, _ id: String, _ params: JSONObject
    ) throws(UpgradeError) -> JSONValue {
        var creation = params
        creation["suspended"] = nil
        creation["live_update_listener"] = nil
        var controller = Controller(creation: creation, family: family)
        if params["suspended"] == true { controller.state = "SUSPENDED" }
        try card.owners.withLock { owners throws(UpgradeError) in
            if params["live_update_listener"] == true {
                owners.listener[controller.vuid] = self
                controller.part = "listener"
            } else if let holder = owners.holder[controller.vuid] {
                throw UpgradeError("function \(controller.vuid) is driven by \(holder)")
            } else {
                owners.holder[controller.vuid] = name
            }
        }
        state.withLock { state in
            state.controllers[id] = controller
            state.order.append(id)
        }
        return ["ctrl_id": .string(id)]
    }

    /// Its functions are their listeners' then, and it does not know of those any more.
    private func die() {
        for (id, controller) in state.withLock({ $0.controllers }) {
            let next = card.owners.withLock { owners -> FakeService? in
                guard owners.holder[controller.vuid] == name,
                    let next = owners.listener.removeValue(forKey: controller.vuid)
                else { return nil }
                owners.holder[controller.vuid] = next.name
                return next
            }
            guard let next else { continue }
            state.withLock { state in
                state.controllers[id] = nil
                state.order.removeAll { $0 == id }
            }
            next.takeOver(controller.vuid, knowing: controller.attached)
        }
    }

    /// - Parameter namespaces: that the driver knows; without one of them it waits.
    private func takeOver(_ vuid: String, knowing namespaces: [JSONValue] = []) {
        state.withLock { state in
            for (id, controller) in state.controllers where controller.vuid == vuid {
                let hasAll = namespaces.allSatisfy { controller.attached.contains($0) }
                state.controllers[id]?.state = hasAll ? "STARTED" : "SUSPENDED"
                state.controllers[id]?.part = nil
            }
            state.handOvers[vuid, default: 0] += 1
        }
    }

    private func list(_ family: String, _ id: String?) throws(UpgradeError) -> JSONValue {
        try state.withLock { state throws(UpgradeError) in
            if let id, state.controllers[id] == nil { throw UpgradeError("no controller \(id)") }
            let shown = state.order.filter { id == nil || $0 == id }
            return .array(
                shown.compactMap { name in
                    guard let controller = state.controllers[name], controller.family == family
                    else { return nil }
                    var entry: JSONObject = [
                        "ctrl_id": .string(name), "vuid": .string(controller.vuid),
                        "state": .string(controller.state),
                    ]
                    if let part = controller.part { entry.append("live_update", .string(part)) }
                    if family == "nvme", let version = state.memoryVersion {
                        entry.append("memory_version", JSONValue(version))
                    }
                    return .object(entry)
                })
        }
    }
}

extension String {
    fileprivate func components(around middle: String) -> (family: String, verb: String) {
        var index = startIndex
        while !self[index...].hasPrefix(middle) { index = self.index(after: index) }
        return (String(self[..<index]), String(self[self.index(index, offsetBy: middle.count)...]))
    }
}
