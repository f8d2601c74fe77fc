internal import Hardware
internal import JSONRPC
internal import Platform

/// Calls about a lease that the service has, and what becomes of it without a call.
extension ControlPeer {
    func lease(_ call: String, _ body: JSONValue) throws(HardwareError) -> JSONObject {
        let number = body.unsigned("lease") ?? 0
        if call == "close" {
            core.close(
                lease: number, of: self, releasesVectors: body.flag("release_vectors"))
            forget(lease: number)
            return [:]
        }
        if call == "stand_down" { return standDown(number) }
        if call == "obstacle" {
            core.function(lease: number, of: self)?.setObstacle(body.text("reason"), of: number)
            return [:]
        }
        guard let function = core.function(lease: number, of: self),
            function.lease?.number == number
        else {
            throw HardwareError(
                ErrorNumber.noDevice, "lease \(number) is not, or no longer, a serving one")
        }
        switch call {
        case "hand_over":
            let name = try function.handOver(offering: body.flag("offer"))
            return ["to": name.map { .string($0) } ?? .null]
        case "withdraw":
            function.withdrawOffer()
            return [:]
        default:
            return ["listener": try function.listener().map { .string($0) } ?? .null]
        }
    }

    private func standDown(_ number: UInt64) -> JSONObject {
        guard let function = core.function(lease: number, of: self) else { return ["ended": true] }
        guard function.standby?.number == number else { return ["ended": false] }
        function.dropStandby()
        forget(lease: number)
        return ["ended": true]
    }

    /// A lease is over without the service's asking: handed to `controller`, or, when it stood by,
    /// refused.
    func leaseMoved(_ lease: UInt64, to controller: String?) {
        forget(lease: lease)
        send(
            ControlMessage([
                "event": "lease_over", "lease": JSONValue(lease),
                "to": controller.map { .string($0) } ?? .null,
            ]))
    }
}

extension ControlCoding {
    /// Members of a state: what the lease may do now.
    static func encode(_ standing: LeaseStanding) -> JSONObject {
        switch standing {
        case .standby: ["standby": true]
        case .serving(let predecessors):
            ["predecessors": .array(predecessors.map { JSONValue($0) })]
        }
    }

    static func standing(_ value: JSONValue) -> LeaseStanding {
        if value.flag("standby") { return .standby }
        return .serving(after: (value["predecessors"]?.array ?? []).compactMap(\.unsigned))
    }
}
