public import Hardware

/// One function of a card, and all that the card knows of it.
public struct CardFunction: Equatable, Sendable {
    public internal(set) var identity: FunctionIdentity
    public internal(set) var pci: PCIIdentity
    /// Downstream port and state of a hot-plug PF; nil for static functions.
    var slot: Int?
    public internal(set) var hotplug: HotplugState?
    /// Index of the PF of a VF.
    var parent: Int?
    /// Indexes of the VFs of a static PF.
    var vfs: Range<Int> = 0..<0
    /// A PF: vectors of its VFs that none of them has.
    public internal(set) var freeVectorCount = 0
    /// A PF: VFs that the host has enabled, the first so many.
    public internal(set) var enabledVFCount = 0
    public internal(set) var isEnabled = true
    public internal(set) var isDriverBound = false
    /// Controller that drives it, in whichever service.
    public internal(set) var controller: String?
    public internal(set) var isHostConnected = false

    init(_ identity: FunctionIdentity, pci: PCIIdentity) {
        self.identity = identity
        self.identity.vendorID = pci.vendorID
        self.identity.subsystemVendorID = pci.subsystemVendorID
        self.pci = pci
    }

    var vuid: String { identity.vuid }
    var isVF: Bool { identity.vfIndex != nil }

    /// Whether the host sees the function at all.
    public var isVisible: Bool {
        switch hotplug {
        case nil: isEnabled
        case .powerOff: false
        case .plugging, .powerOn, .unplugging: true
        }
    }
}
