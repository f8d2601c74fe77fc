internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import RDMA

/// Services that reach host memory by RDMA alone.
extension DPUCore {
    /// The relay, made at first use. ENODEV: there is no device for it.
    func requireRelay() throws(HardwareError) -> Relay {
        if let relay { return relay }
        guard let name = inventory.rdmaDevice else {
            throw HardwareError(
                ErrorNumber.noDevice,
                "data path rdma: this software DPU has no RDMA device; start it with "
                    + "`softdpu run --rdma-device NAME`, or the service with --data-path mapped")
        }
        do {
            let made = try Relay(name, core: self)
            relay = made
            log.notice("event=relay_listens device=\(name) address=\(made.endpoint)")
            return made
        } catch {
            throw HardwareError(error.errorNumber, "data path rdma: \(error)")
        }
    }

    /// Where a service's queue pairs find the relay, as members of the greeting.
    func relayMembers(of peer: ControlPeer) -> JSONObject {
        guard peer.isRelayed, let relay else { return [:] }
        return [
            "relay_address": .string(relay.endpoint.address),
            "relay_port": JSONValue(relay.endpoint.port),
        ]
    }
}
