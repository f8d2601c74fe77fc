internal import CWire
internal import Memory
internal import Platform

/// What the device is made of: DEVICE_GET_INFO, GET_REGION_INFO, GET_IRQ_INFO.
extension VFIOUserSession {
    func deviceInfo(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let size = UInt32(MemoryLayout<vfio_user_device_info>.size)
        let request = try message.beginning(vfio_user_device_info.self)
        try Self.check(request.argsz, atLeast: size)
        return Answer(
            payload: ByteLayout.bytes(
                of: vfio_user_device_info(
                    argsz: size,
                    flags: UInt32(VFIO_USER_DEVICE_RESETTABLE | VFIO_USER_DEVICE_PCI),
                    num_regions: UInt32(VFIO_USER_REGION_COUNT),
                    num_irqs: UInt32(VFIO_USER_IRQ_COUNT))))
    }

    /// A region, with the areas of it that may be mapped and the one file they lie in. A client
    /// that has no room for the areas gets the structure alone, saying how much room it takes.
    func regionInfo(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let size = UInt32(MemoryLayout<vfio_user_region_info>.size)
        let request = try message.beginning(vfio_user_region_info.self)
        try Self.check(request.argsz, atLeast: size)
        guard request.index < UInt32(VFIO_USER_REGION_COUNT) else {
            throw VFIOUserError(ErrorNumber.invalid, "region \(request.index) does not exist")
        }
        var region = vfio_user_region_info()
        region.index = request.index
        region.argsz = size
        region.size = regionByteCount(Int(request.index))
        if region.size > 0 {
            region.flags = UInt32(VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITABLE)
        }
        let areas = shape.maps.filter { $0.bar == Int(request.index) }
        guard let first = areas.first else {
            return Answer(payload: ByteLayout.bytes(of: region))
        }
        let capability = Self.sparse(areas)
        region.flags |= UInt32(VFIO_USER_REGION_MAPPABLE | VFIO_USER_REGION_CAPABILITIES)
        region.argsz += UInt32(capability.count)
        // Given also when the capability is not: QEMU refuses 0 beside the flag.
        region.cap_offset = size
        // May wrap, as the client's sum then does.
        region.offset = first.fileOffset &- first.offset
        guard request.argsz >= region.argsz else {
            return Answer(payload: ByteLayout.bytes(of: region))
        }
        return Answer(
            payload: ByteLayout.bytes(of: region) + capability, descriptors: [first.file])
    }

    /// 0: the device has no such region.
    func regionByteCount(_ index: Int) -> UInt64 {
        index == VFIO_USER_REGION_CONFIGURATION
            ? UInt64(ConfigurationSpace.byteCount) : shape.bars[index] ?? 0
    }

    func interruptInfo(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        let size = UInt32(MemoryLayout<vfio_user_irq_info>.size)
        let request = try message.beginning(vfio_user_irq_info.self)
        try Self.check(request.argsz, atLeast: size)
        guard request.index < UInt32(VFIO_USER_IRQ_COUNT) else {
            throw VFIOUserError(
                ErrorNumber.invalid, "interrupts of kind \(request.index) do not exist")
        }
        var information = vfio_user_irq_info(
            argsz: size, flags: 0, index: request.index, count: 0)
        if request.index == UInt32(VFIO_USER_IRQ_MSIX) {
            information.flags = UInt32(VFIO_USER_IRQ_INFO_EVENTFD)
            information.count = UInt32(shape.vectorCount)
        }
        return Answer(payload: ByteLayout.bytes(of: information))
    }

    private static func sparse(_ areas: [MappableArea]) -> [UInt8] {
        let header = vfio_user_sparse_mmap(
            header: vfio_user_info_capability(
                id: UInt16(VFIO_USER_CAPABILITY_SPARSE_MMAP), version: 1, next: 0),
            nr_areas: UInt32(areas.count), reserved: 0)
        return areas.reduce(ByteLayout.bytes(of: header)) { bytes, area in
            bytes
                + ByteLayout.bytes(
                    of: vfio_user_sparse_area(offset: area.offset, size: area.byteCount))
        }
    }

    private static func check(_ room: UInt32, atLeast size: UInt32) throws(VFIOUserError) {
        guard room >= size else {
            throw VFIOUserError(
                ErrorNumber.invalid, "room for \(room) bytes; the answer has \(size)")
        }
    }
}
