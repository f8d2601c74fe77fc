internal import CWire
internal import Memory
internal import Platform

/// The MSI-X table as the host reads and writes it (PCI Local Bus 3.0 §6.8.2.4). Interrupts go to
/// eventfds, so nothing follows from its entries: whoever translates them for the guest has set
/// the eventfds up.
struct VectorTable {
    private(set) var entries: [UInt8] = []
    private let count: Int

    init(count: Int) {
        self.count = count
        reset()
    }

    var byteCount: Int { entries.count }

    /// Every vector masked, as after a reset.
    mutating func reset() {
        let entry = ByteLayout.bytes(of: pci_msix_vector(address: 0, data: 0, control: 1))
        entries = Array((0..<count).map { _ in entry }.joined())
    }

    /// - Parameter byteCount: 1, 2, 4 or 8, naturally aligned.
    func read(at offset: Int, byteCount: Int) -> UInt64 {
        entries[offset..<offset + byteCount].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func write(_ value: UInt64, at offset: Int, byteCount: Int) {
        for index in 0..<byteCount {
            entries[offset + index] =
                UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
                & Self.writable[(offset + index) % Self.writable.count]
        }
    }

    /// What another process had of it.
    mutating func restore(_ kept: [UInt8]) throws(VFIOUserError) {
        guard kept.count == entries.count else {
            throw VFIOUserError(
                ErrorNumber.invalid, "MSI-X table of \(kept.count) bytes, not \(entries.count)")
        }
        entries = kept.indices.map { kept[$0] & Self.writable[$0 % Self.writable.count] }
    }

    /// Addresses are multiples of four; of the control word only the mask bit exists.
    private static let writable: [UInt8] = ByteLayout.bytes(
        of: pci_msix_vector(address: ~3, data: ~0, control: 1))
}
