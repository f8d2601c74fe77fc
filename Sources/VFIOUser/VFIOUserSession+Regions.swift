internal import CWire
internal import Memory
internal import Platform

/// REGION_READ, REGION_WRITE and REGION_WRITE_MULTI.
extension VFIOUserSession {
    func readRegion(
        _ message: VFIOUserMessage, _ device: any PCIDevice
    ) throws(VFIOUserError) -> Answer {
        let request = try message.structure(vfio_user_region_access.self)
        let range = try check(request.region, request.offset, request.count)
        let data =
            request.region == UInt32(VFIO_USER_REGION_CONFIGURATION)
            ? configuration.read(range) : readBAR(Int(request.region), range, device)
        return Answer(payload: message.payload + data)
    }

    mutating func writeRegion(
        _ message: VFIOUserMessage, _ device: any PCIDevice
    ) throws(VFIOUserError) -> Answer {
        let request = try message.beginning(vfio_user_region_access.self)
        let range = try check(request.region, request.offset, request.count)
        let data = message.payload.dropFirst(MemoryLayout<vfio_user_region_access>.size)
        guard data.count == range.count else {
            throw VFIOUserError(
                ErrorNumber.invalid, "a write of \(range.count) bytes has \(data.count)")
        }
        let mustWait = write(data, to: Int(request.region), at: range.lowerBound, device)
        return Answer(payload: ByteLayout.bytes(of: request), mustWait: mustWait)
    }

    /// All of the writes or none: they are checked before the first is made.
    mutating func writeRegions(
        _ message: VFIOUserMessage, _ device: any PCIDevice
    ) throws(VFIOUserError) -> Answer {
        let size = MemoryLayout<vfio_user_single_write>.size
        let count = try message.beginning(UInt64.self)
        guard count > 0, count <= UInt64(VFIOUserMessage.payloadLimit / size),
            message.payload.count == 8 + Int(count) * size
        else {
            throw VFIOUserError(
                ErrorNumber.invalid, "\(count) writes in \(message.payload.count) bytes")
        }
        let writes = (0..<Int(count)).compactMap {
            ByteLayout.load(vfio_user_single_write.self, from: message.payload, at: 8 + $0 * size)
        }
        for write in writes {
            guard write.count <= 8 else {
                throw VFIOUserError(
                    ErrorNumber.invalid, "a write of \(write.count) bytes among many; 8 at most")
            }
            _ = try check(write.region, write.offset, write.count)
        }
        var mustWait = false
        for single in writes {
            let data = ByteLayout.bytes(of: single.data).prefix(Int(single.count))
            if write(data, to: Int(single.region), at: Int(single.offset), device) {
                mustWait = true
            }
        }
        return Answer(payload: ByteLayout.bytes(of: count), mustWait: mustWait)
    }

    private func check(
        _ region: UInt32, _ offset: UInt64, _ count: UInt32
    ) throws(VFIOUserError) -> Range<Int> {
        guard region < UInt32(VFIO_USER_REGION_COUNT) else {
            throw VFIOUserError(ErrorNumber.invalid, "region \(region) does not exist")
        }
        let byteCount = regionByteCount(Int(region))
        let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
        guard count > 0, Int(count) <= VFIOUserMessage.dataLimit, !overflow, end <= byteCount
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "\(count) bytes at \(offset) of region \(region), which has \(byteCount); at most "
                    + "\(VFIOUserMessage.dataLimit) at a time")
        }
        return Int(offset)..<Int(end)
    }

    /// - Returns: whether the answer must wait.
    private mutating func write(
        _ data: ArraySlice<UInt8>, to region: Int, at offset: Int, _ device: any PCIDevice
    ) -> Bool {
        if region == VFIO_USER_REGION_CONFIGURATION {
            return writeConfiguration(data, at: offset)
        }
        writeBAR(region, data, at: offset, device)
        return false
    }

    private mutating func writeConfiguration(_ data: ArraySlice<UInt8>, at offset: Int) -> Bool {
        let effect = configuration.write(data, at: offset)
        if effect == .reset {
            reset()
            return true
        }
        let wasBusMaster = state.isBusMaster
        if configuration.isBusMaster != wasBusMaster {
            state.isBusMaster = !wasBusMaster
            state.generation += 1
        }
        return effect == .sleep || wasBusMaster && !state.isBusMaster
    }

    // --- BARs ---

    private func readBAR(_ bar: Int, _ range: Range<Int>, _ device: any PCIDevice) -> [UInt8] {
        // Nobody answers in D3hot, and a bus reads ones then.
        guard configuration.isAwake else { return Array(repeating: 0xFF, count: range.count) }
        var data: [UInt8] = []
        data.reserveCapacity(range.count)
        Self.divide(range) { offset, byteCount in
            let value = readRegister(bar, offset, byteCount, device)
            data += ByteLayout.bytes(of: value).prefix(byteCount)
        }
        return data
    }

    private mutating func writeBAR(
        _ bar: Int, _ data: ArraySlice<UInt8>, at offset: Int, _ device: any PCIDevice
    ) {
        guard configuration.isAwake else { return }
        Self.divide(offset..<offset + data.count) { place, byteCount in
            let start = data.startIndex + place - offset
            let value = data[start..<start + byteCount].reversed().reduce(0 as UInt64) {
                $0 << 8 | UInt64($1)
            }
            writeRegister(bar, place, byteCount, value, device)
        }
    }

    private func readRegister(
        _ bar: Int, _ offset: Int, _ byteCount: Int, _ device: any PCIDevice
    ) -> UInt64 {
        switch owner(bar, offset) {
        case .vectorTable(let place): vectorTable.read(at: place, byteCount: byteCount)
        case .pendingBits: 0
        case .device: device.readRegister(bar: bar, offset: offset, byteCount: byteCount)
        }
    }

    private mutating func writeRegister(
        _ bar: Int, _ offset: Int, _ byteCount: Int, _ value: UInt64, _ device: any PCIDevice
    ) {
        switch owner(bar, offset) {
        case .vectorTable(let place): vectorTable.write(value, at: place, byteCount: byteCount)
        case .pendingBits: break
        case .device:
            device.writeRegister(bar: bar, offset: offset, byteCount: byteCount, value: value)
        }
    }

    private enum Owner {
        case device
        case vectorTable(place: Int)
        case pendingBits
    }

    /// Table and pending bits are whole multiples of 8 bytes, so an access has one owner.
    private func owner(_ bar: Int, _ offset: Int) -> Owner {
        if shape.vectorTableRange(in: bar).contains(offset) {
            return .vectorTable(place: offset - Int(shape.vectorTable.offset))
        }
        return shape.pendingBitsRange(in: bar).contains(offset) ? .pendingBits : .device
    }

    /// Cuts a range into naturally aligned pieces of 1, 2, 4 or 8 bytes, the largest that fit.
    private static func divide(_ range: Range<Int>, _ body: (Int, Int) -> Void) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            var byteCount = 8
            while offset % byteCount != 0 || byteCount > range.upperBound - offset {
                byteCount /= 2
            }
            body(offset, byteCount)
            offset += byteCount
        }
    }
}
