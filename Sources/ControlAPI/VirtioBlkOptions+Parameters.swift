internal import Bdev
internal import Emulation
internal import Hardware
internal import Platform

/// From the parameters of `virtio_blk_controller_create` to options, with every check that needs
/// no hardware.
extension StorageContext {
    func virtioBlkOptions(
        _ parameters: Parameters
    ) async throws -> (VirtioBlkOptions, BlockDevice?) {
        let function = try await function(parameters)
        let queueSize = Int(parameters.unsigned("queue_size"))
        try requirePowerOfTwo("queue_size", UInt64(queueSize))
        try requirePowerOfTwo("size_max", parameters.unsigned("size_max"))
        try requirePowerOfTwo("seg_max", parameters.unsigned("seg_max"))
        try refuseHandOver(parameters)
        let queueCount = try queueCount(parameters, function)
        let device = try bdev(parameters)
        let name: String
        if let given = parameters.optionalString("ctrl_id") {
            name = given
        } else {
            name = await controllers.freeName()
        }
        let options = VirtioBlkOptions(
            name: name, vuid: function.vuid, bdev: device?.name, queueCount: queueCount,
            queueSize: queueSize, sizeMax: UInt32(parameters.unsigned("size_max")),
            segMax: UInt32(parameters.unsigned("seg_max")),
            serial: parameters.optionalString("vblk_id") ?? "",
            isInOrder: parameters.flag("force_in_order"),
            hasAdminQueue: parameters.flag("admin_q"),
            isIndirect: parameters.flag("indirect_desc"), isReadOnly: parameters.flag("read_only"),
            isLocalOptimized: parameters.flag("dbg_local_optimized"),
            startsSuspended: parameters.flag("suspended"))
        return (options, device)
    }

    private func requirePowerOfTwo(_ name: String, _ value: UInt64) throws(ControllerError) {
        if value & (value - 1) != 0 {
            let smaller = 1 << (63 - value.leadingZeroBitCount)
            throw ControllerError(
                ErrorNumber.invalid,
                "\(name) is \(value); it must be a power of two, such as \(smaller)")
        }
    }

    private func refuseHandOver(_ parameters: Parameters) throws(ControllerError) {
        if parameters.flag("live_update_listener") {
            throw ControllerError(
                ErrorNumber.notSupported,
                "live_update_listener: this service does not take controllers over yet; destroy "
                    + "the controller there and create it here")
        }
        if parameters.has("vf_num_msix") {
            throw ControllerError(
                ErrorNumber.invalid, "vf_num_msix is for VFs; this function is a PF")
        }
    }

    /// One vector is kept for configuration changes, and an admin queue is a queue too.
    private func queueCount(
        _ parameters: Parameters, _ function: FunctionIdentity
    ) throws(ControllerError) -> Int {
        let limit = min(function.queueLimit, function.vectorCount - 1)
        guard let wanted = parameters.optionalUnsigned("num_queues") else { return limit }
        let needed = wanted + (parameters.flag("admin_q") ? 1 : 0)
        guard needed <= UInt64(limit) else {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(wanted)\(needed > wanted ? " and an admin queue" : ""): function "
                    + "\(function.vuid) has \(function.queueLimit) queues and "
                    + "\(function.vectorCount) vectors; at most \(limit) fit")
        }
        return Int(wanted)
    }

    private func bdev(_ parameters: Parameters) throws(ControllerError) -> BlockDevice? {
        guard let name = parameters.optionalString("bdev"), name != "none" else { return nil }
        let device = try device(name)
        let size = device.geometry.blockByteCount
        guard size >= 512, size & (size - 1) == 0 else {
            throw ControllerError(
                ErrorNumber.invalid,
                "bdev \"\(name)\" has blocks of \(size) bytes; virtio-blk needs a power of two "
                    + "from 512 on")
        }
        return device
    }

    // --- selecting a function ---

    /// The virtio-blk function that the parameters select: by vuid, vhca_id, pf_id or pci_bdf.
    private func function(_ parameters: Parameters) async throws -> FunctionIdentity {
        let functions = try await manager.functions().map(\.identity)
            .filter { $0.kind == .virtioBlk }
        let selectors = ["vuid", "vhca_id", "pf_id", "pci_bdf"].filter(parameters.has)
        guard selectors.count == 1, let selector = selectors.first else {
            throw ControllerError(
                ErrorNumber.invalid,
                "give one of vuid, vhca_id, pf_id (with vf_id for a VF) and pci_bdf to name the "
                    + "function; \(selectors.isEmpty ? "none" : selectors.joined(separator: ", ")) "
                    + "was given")
        }
        let found = functions.first { function in
            switch selector {
            case "vuid": function.vuid == parameters.string("vuid")
            case "vhca_id": UInt64(function.vhcaID) == parameters.unsigned("vhca_id")
            case "pf_id":
                UInt64(function.pfIndex) == parameters.unsigned("pf_id")
                    && function.vfIndex.map { UInt64($0) } == parameters.optionalUnsigned("vf_id")
            default:
                // "00:00.0" names every function that no host has enumerated, so it names none.
                function.bdf == parameters.string("pci_bdf") && function.bdf != "00:00.0"
            }
        }
        guard let found else {
            throw ControllerError(
                ErrorNumber.noDevice,
                "no virtio-blk function with this \(selector); emulation_function_list shows the "
                    + "\(functions.count) there are")
        }
        return found
    }
}
