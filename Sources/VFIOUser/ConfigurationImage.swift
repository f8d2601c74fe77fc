internal import CWire
internal import Memory

/// Configuration space in the making: reset values and which bits a write may change.
struct ConfigurationImage {
    private(set) var bytes = [UInt8](repeating: 0, count: Int(PCI_CONFIGURATION_BYTES))
    private(set) var writable = [UInt8](repeating: 0, count: Int(PCI_CONFIGURATION_BYTES))
    private var end = MemoryLayout<pci_header>.size
    /// Where the pointer to the next capability goes.
    private var link = MemoryLayout<pci_header>.offset(of: \.capabilities) ?? 0x34

    /// The header (PCI Local Bus 3.0 §6.1, §6.2). It has no interrupt pin and no expansion ROM.
    init(_ shape: PCIShape) {
        var header = pci_header()
        header.vendor_id = shape.vendorID
        header.device_id = shape.deviceID
        header.subsystem_vendor_id = shape.subsystemVendorID
        header.subsystem_id = shape.subsystemID
        header.status = UInt16(PCI_STATUS_CAPABILITIES)
        header.revision_id = shape.revisionID
        header.class_code = (
            UInt8(truncatingIfNeeded: shape.classCode),
            UInt8(truncatingIfNeeded: shape.classCode >> 8),
            UInt8(truncatingIfNeeded: shape.classCode >> 16)
        )
        var mask = pci_header()
        mask.command = UInt16(
            PCI_COMMAND_MEMORY_SPACE | PCI_COMMAND_BUS_MASTER | PCI_COMMAND_PARITY
                | PCI_COMMAND_SYSTEM_ERROR | PCI_COMMAND_INTERRUPT_DISABLE)
        mask.cache_line_size = 0xFF
        mask.interrupt_line = 0xFF
        put(ByteLayout.bytes(of: header), writable: ByteLayout.bytes(of: mask), at: 0)
        for (bar, byteCount) in shape.bars {
            // Address bits below the size stay 0: that is how a host learns it (§6.2.5.1).
            let flags = ByteLayout.bytes(of: UInt64(PCI_BAR_MEMORY_64))
            let address = ByteLayout.bytes(of: ~(byteCount - 1))
            let place = (MemoryLayout<pci_header>.offset(of: \.base_addresses) ?? 0x10) + 4 * bar
            put(flags, writable: address, at: place)
        }
    }

    /// Adds a capability and links it in. Traps when there is no room.
    /// - Returns: where it begins.
    mutating func append<Capability: BitwiseCopyable>(
        _ capability: Capability, writable mask: Capability
    ) -> Int {
        append(ByteLayout.bytes(of: capability), writable: ByteLayout.bytes(of: mask))
    }

    /// Adds a read-only capability of the vendor's.
    mutating func append(vendor capability: [UInt8]) {
        _ = append(capability, writable: Array(repeating: 0, count: capability.count))
    }

    /// MSI-X (PCI Local Bus 3.0 §6.8.2).
    mutating func appendVectors(_ shape: PCIShape) {
        func place(_ location: PCIShape.Location) -> UInt32 {
            UInt32(location.offset) | UInt32(location.bar)
        }
        _ = append(
            pci_msix_capability(
                id: UInt8(PCI_CAPABILITY_MSIX), next: 0, control: UInt16(shape.vectorCount - 1),
                table: place(shape.vectorTable), pending: place(shape.pendingBits)),
            writable: pci_msix_capability(
                id: 0, next: 0, control: UInt16(PCI_MSIX_MASK_ALL | PCI_MSIX_ENABLE), table: 0,
                pending: 0))
    }

    /// An endpoint that can be reset by itself (PCI Express Base 4.0 §7.5.3).
    mutating func appendExpress() -> Int {
        var endpoint = pci_express_capability()
        endpoint.id = UInt8(PCI_CAPABILITY_EXPRESS)
        endpoint.flags = UInt16(PCI_EXPRESS_VERSION)
        endpoint.device_capabilities = UInt32(
            PCI_EXPRESS_ROLE_BASED_ERRORS | PCI_EXPRESS_FUNCTION_LEVEL_RESET)
        endpoint.device_control = UInt16(PCI_EXPRESS_DEVICE_CONTROL_RESET)
        endpoint.link_capabilities = UInt32(PCI_EXPRESS_LINK)
        endpoint.link_status = UInt16(PCI_EXPRESS_LINK)
        endpoint.link_capabilities2 = UInt32(PCI_EXPRESS_LINK_SPEEDS)
        var mask = pci_express_capability()
        mask.device_control = UInt16(PCI_EXPRESS_DEVICE_CONTROL_MASK)
        mask.link_control = UInt16(PCI_EXPRESS_LINK_CONTROL_MASK)
        return append(endpoint, writable: mask)
    }

    private mutating func append(_ capability: [UInt8], writable mask: [UInt8]) -> Int {
        let start = end
        precondition(start + capability.count <= bytes.count, "capabilities past 256 bytes")
        put(capability, writable: mask, at: start)
        bytes[start + 1] = 0
        bytes[link] = UInt8(start)
        link = start + 1
        end = (start + capability.count + 3) & ~3
        return start
    }

    private mutating func put(_ values: [UInt8], writable mask: [UInt8], at offset: Int) {
        bytes.replaceSubrange(offset..<offset + values.count, with: values)
        writable.replaceSubrange(offset..<offset + mask.count, with: mask)
    }
}
