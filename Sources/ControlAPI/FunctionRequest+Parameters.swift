internal import Bdev
internal import Emulation
internal import Hardware
internal import Platform

/// From the parameters of `*_function_create` and `*_emulation_device_attach`.
extension FunctionRequest {
    init(_ parameters: Parameters, kind: FunctionIdentity.Kind) throws(ControllerError) {
        self.init(kind: kind)
        if let count = parameters.optionalUnsigned("total_vf"), count > 0 {
            throw ControllerError(
                ErrorNumber.notSupported,
                "total_vf is \(count); hot-plug PFs have no SR-IOV, so it can only be 0")
        }
        vectorCount = parameters.optionalUnsigned("num_msix").map { Int($0) }
        vendorID = parameters.optionalUnsigned("vid").map { UInt16($0) }
        deviceID = parameters.optionalUnsigned("id").map { UInt16($0) }
        subsystemID = parameters.optionalUnsigned("ssid").map { UInt16($0) }
        subsystemVendorID = parameters.optionalUnsigned("ssvid").map { UInt16($0) }
        revisionID = parameters.optionalUnsigned("revid").map { UInt8($0) }
        classCode = parameters.optionalUnsigned("class_code").map { UInt32($0) }
    }
}

extension StorageContext {
    /// What only virtio-blk functions are told, checked.
    func controllerDefaults(
        _ parameters: Parameters
    ) throws(ControllerError) -> FunctionDefaults.Values {
        if parameters.flag("transitional_device") {
            throw ControllerError(
                ErrorNumber.notSupported,
                "transitional_device: functions are virtio 1.x devices; the legacy interface of "
                    + "virtio 0.95 is not emulated")
        }
        let queues = parameters.optionalUnsigned("num_queues")
        if let queues, let vectors = parameters.optionalUnsigned("num_msix"), queues >= vectors {
            throw ControllerError(
                ErrorNumber.noSpace,
                "num_queues \(queues) with num_msix \(vectors): each queue needs a vector, and "
                    + "configuration changes need one")
        }
        if let size = parameters.optionalUnsigned("queue_depth") {
            try requirePowerOfTwo("queue_depth", size)
        }
        var values = FunctionDefaults.Values(
            queueCount: queues, queueSize: parameters.optionalUnsigned("queue_depth"))
        if let name = parameters.optionalString("bdev"), name != "none" {
            values.bdev = try diskDevice(name).name
        }
        return values
    }
}
