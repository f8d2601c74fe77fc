internal import Hardware
internal import JSONRPC

/// What an operator of the host does to the card (`softdpu host`).
public enum HostAction: Equatable, Sendable {
    case powerOn
    case powerOff
    /// Writes sriov_numvfs of a PF.
    case sriov(vuid: String, count: Int, autoprobe: Bool)
    /// Function level reset (PCI Express Base 6.0 §6.6.2).
    case reset(vuid: String)
    case bind(vuid: String)
    case unbind(vuid: String)
}

extension HostAction {
    var encoded: JSONObject {
        switch self {
        case .powerOn: ["action": "power_on"]
        case .powerOff: ["action": "power_off"]
        case .sriov(let vuid, let count, let autoprobe):
            [
                "action": "sriov", "vuid": .string(vuid), "count": JSONValue(count),
                "autoprobe": .bool(autoprobe),
            ]
        case .reset(let vuid): ["action": "reset", "vuid": .string(vuid)]
        case .bind(let vuid): ["action": "bind", "vuid": .string(vuid)]
        case .unbind(let vuid): ["action": "unbind", "vuid": .string(vuid)]
        }
    }

    init?(_ body: JSONValue) {
        let vuid = body.text("vuid")
        switch (body.text("action"), vuid) {
        case ("power_on", _): self = .powerOn
        case ("power_off", _): self = .powerOff
        case ("sriov", let vuid?):
            guard let count = body.int("count") else { return nil }
            self = .sriov(vuid: vuid, count: count, autoprobe: body.flag("autoprobe"))
        case ("reset", let vuid?): self = .reset(vuid: vuid)
        case ("bind", let vuid?): self = .bind(vuid: vuid)
        case ("unbind", let vuid?): self = .unbind(vuid: vuid)
        default: return nil
        }
    }
}
