internal import CWire
internal import Memory
internal import Platform

/// PCI configuration space: a type 0 header, then power management, MSI-X, PCI Express and the
/// vendor's capabilities (PCI Local Bus 3.0 §6; PCI Express Base 4.0 §7.5). The extended space is
/// there and empty.
struct ConfigurationSpace {
    static let byteCount = Int(PCI_EXPRESS_CONFIGURATION_BYTES)

    /// What a write asks for besides its bytes.
    enum Effect: Equatable {
        case none
        /// D0 to D3hot: the function falls silent.
        case sleep
        /// Function level reset, or D3hot to D0, which is one too (No_Soft_Reset is 0).
        case reset
    }

    private let initial: [UInt8]
    /// Bits that a write changes.
    private let writable: [UInt8]
    private(set) var bytes: [UInt8]
    private let powerControl: Int
    private let deviceControl: Int

    init(_ shape: PCIShape) {
        var image = ConfigurationImage(shape)
        powerControl =
            image.append(
                pci_power_capability(
                    id: UInt8(PCI_CAPABILITY_POWER), next: 0,
                    capabilities: UInt16(PCI_POWER_VERSION), control: 0, bridge_extensions: 0,
                    data: 0),
                writable: pci_power_capability(
                    id: 0, next: 0, capabilities: 0, control: UInt16(PCI_POWER_STATE_MASK),
                    bridge_extensions: 0, data: 0)) + 4
        if shape.vectorCount > 0 { image.appendVectors(shape) }
        deviceControl = image.appendExpress() + 8
        for capability in shape.vendorCapabilities { image.append(vendor: capability) }
        initial = image.bytes
        writable = image.writable
        bytes = initial
    }

    /// Whether the function may reach memory: the command register allows it, in D0.
    var isBusMaster: Bool {
        let command = ByteLayout.load(UInt16.self, from: bytes, at: 4) ?? 0
        return command & UInt16(PCI_COMMAND_BUS_MASTER) != 0 && isAwake
    }

    /// D0; in D3hot only configuration space answers.
    var isAwake: Bool { powerState == UInt8(PCI_POWER_D0) }

    private var powerState: UInt8 { bytes[powerControl] & UInt8(PCI_POWER_STATE_MASK) }

    mutating func reset() { bytes = initial }

    /// What another process had of it; bits that no write changes are our own.
    mutating func restore(_ kept: [UInt8]) throws(VFIOUserError) {
        guard kept.count == initial.count else {
            throw VFIOUserError(
                ErrorNumber.invalid, "configuration space of \(kept.count) bytes")
        }
        bytes = initial.indices.map {
            initial[$0] & ~writable[$0] | kept[$0] & writable[$0]
        }
    }

    /// - Parameter range: inside configuration space, of any size and alignment.
    func read(_ range: Range<Int>) -> [UInt8] {
        range.map { $0 < bytes.count ? bytes[$0] : 0 }
    }

    /// Writes the writable bits of `data` at `offset`. After `.reset` the caller resets.
    mutating func write(_ data: ArraySlice<UInt8>, at offset: Int) -> Effect {
        let oldState = powerState
        var isReset = false
        for (place, byte) in zip(offset..., data) where place < bytes.count {
            bytes[place] = bytes[place] & ~writable[place] | byte & writable[place]
            // Initiate Function Level Reset, the top bit, always reads 0.
            if place == deviceControl + 1 && byte & 0x80 != 0 { isReset = true }
        }
        // D1 and D2 are not supported: asking for them changes nothing.
        let states = [UInt8(PCI_POWER_D0), UInt8(PCI_POWER_D3_HOT)]
        if !states.contains(powerState) {
            bytes[powerControl] = bytes[powerControl] & ~UInt8(PCI_POWER_STATE_MASK) | oldState
        }
        if isReset || powerState < oldState { return .reset }
        return powerState > oldState ? .sleep : .none
    }
}
