internal import Card
internal import Hardware
internal import JSONRPC
internal import Platform

/// Calls that change the card.
extension ControlPeer {
    /// Calls that are answered when hosts and services have done their part.
    /// - Returns: whether `call` is one of them.
    func performLater(_ call: String, _ body: JSONValue, id: UInt64) throws(HardwareError) -> Bool {
        let done: DPUCore.Done = { [weak self] result in
            self?.answer(
                id, result.map { ["warnings": .array($0.map { JSONValue.string($0) })] })
        }
        switch call {
        case "host":
            guard let action = HostAction(body) else {
                throw HardwareError(ErrorNumber.invalid, "host needs an action and its function")
            }
            core.perform(action, then: done)
        case "destroy_function":
            core.destroyFunction(try vuid(body), force: body.flag("force"), then: done)
        case "power_cycle":
            if core.inventory.isEmbedded {
                throw HardwareError(
                    ErrorNumber.notSupported,
                    "this software DPU lives in its service; restart the service instead")
            }
            core.powerCycle(then: done)
        default: return false
        }
        return true
    }

    func changeCard(_ call: String, _ body: JSONValue) throws(HardwareError) -> JSONObject {
        let vuid = body.text("vuid")
        switch (call, vuid) {
        case ("create_function", _):
            guard let request = ControlCoding.functionRequest(body) else {
                throw HardwareError(ErrorNumber.invalid, "create_function needs a kind")
            }
            let made = try core.change { (card) throws(HardwareError) in
                try card.createFunction(request)
            }
            return try ControlCoding.encode(core.listing(made.vuid)).object ?? [:]
        case ("function", let vuid?):
            return try ControlCoding.encode(core.listing(vuid)).object ?? [:]
        case ("plug", let vuid?):
            try core.change { (card) throws(HardwareError) in try card.plug(vuid) }
        case ("unplug", let vuid?):
            try core.change { (card) throws(HardwareError) in try card.unplug(vuid) }
        case ("reclaim_vectors", let vuid?):
            try core.change { (card) throws(HardwareError) in try card.reclaimVectors(vuid) }
        case ("set_vectors", let vuid?):
            let count = body.int("vectors") ?? -1
            try core.change { (card) throws(HardwareError) in
                try card.setVectors(vuid, count: count)
            }
        case ("check_close", _):
            guard let function = core.function(lease: body.unsigned("lease") ?? 0, of: self) else {
                break
            }
            try core.card.checkClose(function.vuid, force: body.flag("force"))
        default:
            throw HardwareError(ErrorNumber.notSupported, "control call \(call) is not known")
        }
        return [:]
    }

    private func vuid(_ body: JSONValue) throws(HardwareError) -> String {
        guard let vuid = body.text("vuid") else {
            throw HardwareError(ErrorNumber.invalid, "the call needs a vuid")
        }
        return vuid
    }
}
