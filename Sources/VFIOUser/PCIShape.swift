public import Platform

/// What the host sees on the PCI bus: a type 0 function with 64-bit memory BARs, MSI-X, power
/// management (D0, D3hot) and function level reset (PCI Local Bus 3.0 §6; PCI Express Base 4.0
/// §7.5).
///
/// A shape that cannot be is a bug of its maker and traps when a session starts with it.
public struct PCIShape: Sendable {
    /// A place in a BAR, in bytes from its start; a multiple of 8.
    public struct Location: Equatable, Sendable {
        public var bar: Int
        public var offset: UInt64

        public init(bar: Int, offset: UInt64) {
            self.bar = bar
            self.offset = offset
        }
    }

    public var vendorID: UInt16
    public var deviceID: UInt16
    public var subsystemVendorID: UInt16
    public var subsystemID: UInt16
    public var revisionID: UInt8 = 0
    /// Base class, subclass and programming interface: 0x010802 is an NVMe controller.
    public var classCode: UInt32
    /// Byte counts by number: 0, 2 or 4, as each BAR takes two registers; powers of two from 4096.
    public var bars: [Int: UInt64] = [:]
    /// Entries of the MSI-X table, at most 2048; 0: no interrupts at all.
    public var vectorCount = 0
    public var vectorTable = Location(bar: 0, offset: 0)
    public var pendingBits = Location(bar: 0, offset: 0)
    /// Vendor-specific capabilities, each from its id (9) on; read-only. The second byte of each,
    /// the link to the next, is filled in. Together at most 112 bytes.
    public var vendorCapabilities: [[UInt8]] = []
    /// Parts of BARs that the host may map. Those of one BAR lie in one file, all at the same
    /// distance from their place in the BAR.
    public var maps: [MappableArea] = []

    /// A function without BARs; the subsystem is called like the device.
    public init(vendorID: UInt16, deviceID: UInt16, classCode: UInt32) {
        self.vendorID = vendorID
        self.deviceID = deviceID
        self.classCode = classCode
        subsystemVendorID = vendorID
        subsystemID = deviceID
    }
}

/// Part of a BAR that the host may map: whole pages of a memory file.
public struct MappableArea: Sendable {
    public var bar: Int
    /// In bytes from the start of the BAR.
    public var offset: UInt64
    public var byteCount: UInt64
    public var file: SharedDescriptor
    /// The protocol names the place of the whole BAR in the file, and a client adds `offset` to it.
    /// Below `offset` that place is before the file begins and the sum of 64 bits wraps: QEMU and
    /// our client take that, one that checks its sums needs a file in the shape of the BAR.
    public var fileOffset: UInt64

    public init(
        bar: Int, offset: UInt64, byteCount: UInt64, file: SharedDescriptor, fileOffset: UInt64
    ) {
        self.bar = bar
        self.offset = offset
        self.byteCount = byteCount
        self.file = file
        self.fileOffset = fileOffset
    }
}
