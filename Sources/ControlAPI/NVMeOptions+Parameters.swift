internal import Emulation
internal import Hardware
internal import Platform

/// From the parameters of `nvme_controller_create` to options.
extension StorageContext {
    func nvmeOptions(_ parameters: Parameters) async throws -> NVMeOptions {
        let nqn = parameters.string("nqn")
        _ = try await nvme.subsystem(nqn)
        if parameters.has("vf_id"), !parameters.has("pf_id") {
            throw ControllerError(
                ErrorNumber.invalid, "vf_id counts the VFs of a PF; give its pf_id as well")
        }
        let snapshot = try parameters.optionalString("snapshot").map {
            (path) throws(ControllerError) in try ControllerSnapshot(path: path)
        }
        let function = try await function(
            parameters, by: ["vuid", "vhca_id", "pf_id", "pci_bdf"], kind: .nvme)
        let vectors = try vectorCount(parameters, function)
        let queues = try queueCount(
            parameters, function.identity, vectors: vectors, else: snapshot?.queueCount)
        if parameters.flag("compare_write"), queues > 1 {
            throw ControllerError(
                ErrorNumber.notSupported,
                "compare_write: the pair is atomic on one I/O queue only; give num_queues 1")
        }
        let name: String
        if let given = parameters.optionalString("ctrl_id") {
            name = given
        } else {
            name = await nvme.freeName()
        }
        let mdts = parameters.has("mdts") ? nil : snapshot?.mdts
        var options = NVMeOptions(
            name: name, vuid: function.vuid, nqn: nqn, queueCount: queues,
            queueSize: function.identity.queueSizeLimit,
            mdts: mdts ?? Int(parameters.unsigned("mdts")),
            firmwareSlotCount: Int(parameters.unsigned("fw_slots")))
        options.offersWriteZeroes = parameters.flag("write_zeroes")
        options.offersCompare = parameters.flag("compare")
        options.offersCompareAndWrite = parameters.flag("compare_write")
        options.offersDeallocate = parameters.flag("deallocate_dsm")
        options.listenerPatience = listenerPatience(parameters)
        options.startsSuspended =
            parameters.flag("suspended") || options.listenerPatience != nil
        options.isAdminOnly = parameters.flag("admin_only")
        options.isDynamic = parameters.flag("dynamic_msix")
        options.quirks = UInt32(truncatingIfNeeded: parameters.unsigned("quirks"))
        options.vectorCount = parameters.optionalUnsigned("vf_num_msix").map { Int($0) }
        return options
    }

    private func queueCount(
        _ parameters: Parameters, _ identity: FunctionIdentity, vectors: Int, else standard: Int?
    ) throws(ControllerError) -> Int {
        let limit = identity.nvmeQueueLimit(vectors)
        let given = parameters.optionalUnsigned("num_queues")
        if parameters.flag("admin_only") {
            guard given ?? 0 == 0 else {
                throw ControllerError(
                    ErrorNumber.invalid,
                    "admin_only: such a controller has no I/O queues; leave num_queues out")
            }
            return 0
        }
        let wanted = given ?? UInt64(standard ?? limit)
        guard wanted <= UInt64(limit) else {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(wanted): function \(identity.vuid) has \(identity.queueLimit) I/O "
                    + "queues and \(vectors) vectors; at most \(limit) fit")
        }
        return Int(wanted)
    }
}

extension FunctionIdentity {
    /// I/O queues that fit so many vectors.
    func nvmeQueueLimit(_ vectors: Int) -> Int { min(queueLimit, kind.queues(of: vectors)) }
}
