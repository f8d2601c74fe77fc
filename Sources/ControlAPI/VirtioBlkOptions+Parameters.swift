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
        let function = try await virtioBlkFunction(parameters)
        let vuid = function?.vuid ?? parameters.string("vuid")
        let defaults = defaults.of(vuid)
        var queueSize = parameters.unsigned("queue_size")
        if let size = defaults.queueSize, !parameters.has("queue_size") { queueSize = size }
        try requirePowerOfTwo("queue_size", queueSize)
        try requirePowerOfTwo("size_max", parameters.unsigned("size_max"))
        try requirePowerOfTwo("seg_max", parameters.unsigned("seg_max"))
        let queueCount: Int
        if let function {
            let vectors = try vectorCount(parameters, function)
            queueCount = try self.queueCount(
                parameters, function, vectors: vectors, defaults.queueCount)
        } else {
            queueCount = Int(parameters.unsigned("num_queues"))
        }
        let device = try bdev(parameters.optionalString("bdev") ?? defaults.bdev)
        let name: String
        if let given = parameters.optionalString("ctrl_id") {
            name = given
        } else {
            name = await controllers.freeName()
        }
        var options = VirtioBlkOptions(
            name: name, vuid: vuid, bdev: device?.name, queueCount: queueCount,
            queueSize: Int(queueSize), sizeMax: UInt32(parameters.unsigned("size_max")),
            segMax: UInt32(parameters.unsigned("seg_max")),
            serial: parameters.optionalString("vblk_id") ?? "",
            isInOrder: parameters.flag("force_in_order"),
            hasAdminQueue: parameters.flag("admin_q"),
            isIndirect: parameters.flag("indirect_desc"), isReadOnly: parameters.flag("read_only"),
            isLocalOptimized: parameters.flag("dbg_local_optimized"),
            startsSuspended: parameters.flag("suspended")
                || parameters.flag("live_update_listener"))
        options.vectorCount = parameters.optionalUnsigned("vf_num_msix").map { Int($0) }
        options.isDynamic = parameters.flag("dynamic_msix")
        options.listenerPatience = listenerPatience(parameters)
        return (options, device)
    }

    /// How long a listener waits for its function; nil for a controller that is none.
    func listenerPatience(_ parameters: Parameters) -> Duration? {
        guard parameters.flag("live_update_listener") else { return nil }
        return .milliseconds(parameters.unsigned("listener_timeout_ms"))
    }

    func requirePowerOfTwo(_ name: String, _ value: UInt64) throws(ControllerError) {
        if value & (value - 1) != 0 {
            let smaller = 1 << (63 - value.leadingZeroBitCount)
            throw ControllerError(
                ErrorNumber.invalid,
                "\(name) is \(value); it must be a power of two, such as \(smaller)")
        }
    }

    /// The bdev `name`, if it can be a disk's; nil for none.
    private func bdev(_ name: String?) throws(ControllerError) -> BlockDevice? {
        guard let name, name != "none" else { return nil }
        return try diskDevice(name)
    }

    func diskDevice(_ name: String) throws(ControllerError) -> BlockDevice {
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
}

/// The function, its vectors and its queues.
extension StorageContext {
    /// Nil for a call that leaves nothing to find out: the hardware checks what it is given, and
    /// hundreds of such calls do not list hundreds of functions each. Numbers that no function can
    /// have are refused here, in their own words.
    private func virtioBlkFunction(
        _ parameters: Parameters
    ) async throws(ControllerError) -> SelectedFunction? {
        if parameters.has("vf_id"), !parameters.has("pf_id") {
            throw ControllerError(
                ErrorNumber.invalid, "vf_id counts the VFs of a PF; give its pf_id as well")
        }
        let selectors = ["vuid", "vhca_id", "pf_id", "pci_bdf"]
        if selectors.filter(parameters.has) == ["vuid"],
            let queues = parameters.optionalUnsigned("num_queues"), queues <= 64,
            !parameters.flag("admin_q"), !parameters.flag("dynamic_msix")
        {
            return nil
        }
        return try await function(parameters, by: selectors, kind: .virtioBlk)
    }

    /// Vectors that the function is going to have.
    func vectorCount(
        _ parameters: Parameters, _ function: SelectedFunction
    ) throws(ControllerError) -> Int {
        let present = function.identity.vectorCount
        guard let pf = function.pf else {
            if parameters.has("vf_num_msix") {
                throw ControllerError(
                    ErrorNumber.invalid,
                    "vf_num_msix is for VFs; function \(function.vuid) is a PF with \(present) "
                        + "vectors")
            }
            return present
        }
        if parameters.flag("dynamic_msix") {
            throw ControllerError(
                ErrorNumber.invalid,
                "dynamic_msix is for PFs; VF \(function.vuid) takes its vectors with vf_num_msix")
        }
        let pool = pf.freeVectorCount ?? 0
        guard let wanted = parameters.optionalUnsigned("vf_num_msix") else {
            if present >= 2 { return present }
            throw ControllerError(
                ErrorNumber.noSpace,
                "VF \(function.vuid) has \(present) vectors; give vf_num_msix, at least 2, from "
                    + "the pool of PF \(pf.identity.vuid), which has \(pool)")
        }
        if wanted > UInt64(present + pool) {
            throw ControllerError(
                ErrorNumber.noSpace,
                "vf_num_msix \(wanted): VF \(function.vuid) has \(present) vectors and the pool of "
                    + "PF \(pf.identity.vuid) has \(pool); at most \(present + pool) are possible")
        }
        return Int(wanted)
    }

    /// One vector is kept for configuration changes, and an admin queue is a queue too.
    private func queueCount(
        _ parameters: Parameters, _ function: SelectedFunction, vectors: Int, _ standard: UInt64?
    ) throws(ControllerError) -> Int {
        let identity = function.identity
        let limit = min(identity.queueLimit, vectors - 1)
        let admin = parameters.flag("admin_q") ? 1 : 0
        let wanted =
            parameters.optionalUnsigned("num_queues") ?? standard ?? UInt64(max(1, limit - admin))
        guard wanted + UInt64(admin) <= UInt64(max(0, limit)) else {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(wanted)\(admin > 0 ? " and an admin queue" : ""): function "
                    + "\(identity.vuid) has \(identity.queueLimit) queues and "
                    + "\(vectors) vectors, one of them for configuration changes; at most "
                    + "\(max(0, limit)) fit")
        }
        return Int(wanted)
    }
}
