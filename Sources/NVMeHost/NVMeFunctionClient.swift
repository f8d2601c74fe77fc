public import Memory
public import NVMeDriver
public import Platform
public import VFIOUser

/// An NVMe function behind a vfio-user socket, as our driver reaches it: what a VMM and a bus are
/// to a driver in a guest.
///
/// One thread at a time.
public final class NVMeFunctionClient: NVMeRegisterAccess {
    public let client: VFIOUserClient
    private let doorbellMapping: Mapping?
    private var granted: [DMAMemory] = []

    /// Connects to the function's host socket.
    public init(path: String, patienceMilliseconds: Int32 = 30_000) throws(NVMeDriverError) {
        do throws(VFIOUserError) {
            let client = try VFIOUserClient(
                path: path, patienceMilliseconds: patienceMilliseconds)
            let area = try client.region(0).areas.first { $0.offset == 0x1000 }
            doorbellMapping = try area.map { area throws(VFIOUserError) in try client.map(area) }
            self.client = client
        } catch { throw Self.translate(error, "connect to \(path)") }
    }

    private static func translate(_ error: VFIOUserError, _ what: String) -> NVMeDriverError {
        .access(code: error.code, "\(what): \(error.reason)")
    }

    private func attempt<Value>(
        _ what: String, _ body: () throws(VFIOUserError) -> Value
    ) throws(NVMeDriverError) -> Value {
        do throws(VFIOUserError) { return try body() } catch { throw Self.translate(error, what) }
    }

    // --- registers ---

    public var doorbellPage: SharedBytes? { doorbellMapping?.bytes }

    public func readRegister(
        at offset: Int, byteCount: Int
    ) throws(NVMeDriverError) -> UInt64 {
        try attempt("read register \(offset)") { () throws(VFIOUserError) in
            try client.readRegister(region: 0, offset: offset, byteCount: byteCount)
        }
    }

    public func writeRegister(
        _ value: UInt64, at offset: Int, byteCount: Int
    ) throws(NVMeDriverError) {
        try attempt("write register \(offset)") { () throws(VFIOUserError) in
            try client.writeRegister(
                region: 0, offset: offset, byteCount: byteCount, value: value)
        }
    }

    public func ring(_ value: UInt32, at offset: Int) -> Bool {
        do throws(VFIOUserError) {
            try client.writeRegister(
                region: 0, offset: offset, byteCount: 4, value: UInt64(value), isPosted: true)
            return true
        } catch { return false }
    }

    // --- memory and interrupts ---

    public func grant(_ memory: DMAMemory) throws(NVMeDriverError) {
        try attempt("grant memory") { () throws(VFIOUserError) in
            // Memory space and bus master.
            try client.writeConfiguration(offset: 4, byteCount: 2, value: 6)
            if granted.contains(where: { $0 === memory }) { return }
            try client.mapMemory(
                address: memory.address, byteCount: UInt64(memory.byteCount), file: memory.file)
        }
        if !granted.contains(where: { $0 === memory }) { granted.append(memory) }
    }

    /// Takes memory away from the device, which uses it no more when this returns.
    public func revoke(_ memory: DMAMemory) throws(NVMeDriverError) {
        try attempt("revoke memory") { () throws(VFIOUserError) in
            try client.unmapMemory(
                address: memory.address, byteCount: UInt64(memory.byteCount))
        }
        granted.removeAll { $0 === memory }
    }

    public func setInterrupt(
        _ vector: Int, _ event: SharedDescriptor
    ) throws(NVMeDriverError) {
        try attempt("interrupt \(vector)") { () throws(VFIOUserError) in
            try client.setInterrupts(first: vector, [event])
        }
    }

    // --- resets from outside ---

    /// Function level reset, by a write to configuration space (PCI Express Base 4.0 §7.5.3.4).
    public func resetFunction() throws(NVMeDriverError) {
        let place = try expressCapability() + 8
        try attempt("function level reset") { () throws(VFIOUserError) in
            let control = try client.readConfiguration(offset: place, byteCount: 2)
            try client.writeConfiguration(
                offset: place, byteCount: 2, value: control | 1 << 15)
        }
    }

    private func expressCapability() throws(NVMeDriverError) -> Int {
        try attempt("capabilities") { () throws(VFIOUserError) in
            var place = Int(try client.readConfiguration(offset: 0x34, byteCount: 1))
            while place != 0 {
                if try client.readConfiguration(offset: place, byteCount: 1) == 0x10 {
                    return place
                }
                place = Int(try client.readConfiguration(offset: place + 1, byteCount: 1))
            }
            throw VFIOUserError(ErrorNumber.notSupported, "no PCI Express capability")
        }
    }

    /// DEVICE_RESET: what a VMM does when its machine is reset.
    public func resetDevice() throws(NVMeDriverError) {
        try attempt("device reset") { () throws(VFIOUserError) in try client.reset() }
    }
}
