internal import ArgumentParser
internal import Hardware
internal import Logging
internal import SoftDPU

/// Services on other machines.
struct RemoteOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Address of this machine, ADDRESS:PORT, at which services of other machines connect:"
                + " snap_service --dpu ADDRESS:PORT --dpu-secret-file FILE --data-path rdma. What"
                + " is said there is authenticated, and can be read on the way.",
            valueName: "address:port"))
    var listen: String?

    @Option(
        name: .customLong("secret-file"),
        help: "16 to 4096 bytes that those services know too; nobody else may read the file.")
    var secretFile: String?

    func check(rdmaDevice: String?) throws(ValidationError) {
        guard let listen else { return }
        guard DPUPlace.endpoint(listen) != nil else {
            throw ValidationError(
                "--listen \(listen) is not ADDRESS:PORT with a numeric address, such as "
                    + "192.0.2.1:4430")
        }
        if secretFile == nil {
            throw ValidationError(
                "--listen \(listen) needs --secret-file FILE: whoever connects controls every "
                    + "function")
        }
        if rdmaDevice == nil {
            throw ValidationError(
                "--listen \(listen) needs --rdma-device NAME: services of other machines reach "
                    + "host memory by RDMA alone")
        }
    }

    func listen(for dpu: SoftDPU, _ log: Logger) throws(HardwareError) {
        guard let secretFile, let (address, port) = listen.flatMap(DPUPlace.endpoint) else {
            return
        }
        let found = try dpu.listen(at: address, port: port, SharedSecret(path: secretFile))
        log.notice("event=listens_for_other_machines address=\(address) port=\(found)")
    }
}
