internal import Hardware
internal import JSONRPC
internal import Platform

/// Services on other machines, which reach this one's memory by RDMA alone.
extension ControlPeer {
    /// EPERM: an operator's command; ENOTSUP: it would map memory of this machine.
    func checkRemote(_ hello: JSONValue) throws(HardwareError) {
        guard isRemote else { return }
        if isOperator {
            throw HardwareError(
                ErrorNumber.notPermitted,
                "commands of the operator need the control socket, on the software DPU's machine")
        }
        guard hello.text("data_path") == "rdma" else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "a service on another machine reaches host memory by RDMA alone; start it with "
                    + "--data-path rdma")
        }
    }

    /// ENOTSUP: a function whose doorbells a service has to look at itself.
    func checkRemote(_ offer: FunctionOffer, of vuid: String) throws(HardwareError) {
        if offer.kind == .virtioBlk || core.inventory.doorbellMode(of: vuid) == .trapped { return }
        throw HardwareError(
            ErrorNumber.notSupported,
            "function \(vuid): its doorbells are mapped, and nobody tells another machine of a "
                + "store to them; start softdpu with --nvme-doorbells trapped")
    }

    /// What a lease's first file is, for who cannot have it.
    static func stand(
        for files: [SharedDescriptor], _ offer: FunctionOffer
    ) throws(HardwareError) -> JSONValue {
        guard let file = files.first else { return .null }
        if case .nvme(let offer) = offer {
            return [
                "bytes": JSONValue(offer.memoryByteCount), "name": .string(try file.fileName()),
            ]
        }
        let memory = try FunctionMemory(adopting: file)
        return [
            "queues": JSONValue(memory.queueCount), "size": JSONValue(memory.queueSize),
            "name": .string(try file.fileName()),
        ]
    }
}

extension SharedDescriptor {
    /// Tells a file of its machine from others.
    func fileName() throws(HardwareError) -> String {
        do throws(SystemError) {
            return "\(try identity())"
        } catch { throw HardwareError(error.code, "\(error)") }
    }
}
