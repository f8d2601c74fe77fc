/// What an emulated PCIe function is called, by every name that an RPC may use.
public struct FunctionIdentity: Hashable, Sendable {
    public enum Kind: String, Sendable {
        case virtioBlk = "VBLK"
        case nvme = "NVME"
    }

    public var kind: Kind
    /// Stable name: `<serial><kind>S<slot>D<device>F<function>`, a VF's with `VF<n>` behind it.
    public var vuid: String
    public var vhcaID: Int
    public var pfIndex: Int
    /// Nil for a physical function.
    public var vfIndex: Int?
    /// Host PCI address without domain; "00:00.0" until the host has enumerated the function.
    public var bdf: String
    public var isHotplugged: Bool
    /// MSI-X vectors assigned to the function.
    public var vectorCount: Int
    /// Most virtqueues it can have.
    public var queueLimit: Int

    public init(
        kind: Kind, vuid: String, vhcaID: Int, pfIndex: Int, vfIndex: Int?, bdf: String,
        isHotplugged: Bool, vectorCount: Int, queueLimit: Int
    ) {
        self.kind = kind
        self.vuid = vuid
        self.vhcaID = vhcaID
        self.pfIndex = pfIndex
        self.vfIndex = vfIndex
        self.bdf = bdf
        self.isHotplugged = isHotplugged
        self.vectorCount = vectorCount
        self.queueLimit = queueLimit
    }
}

/// A function and who drives it.
public struct FunctionListing: Equatable, Sendable {
    public var identity: FunctionIdentity
    /// Name of the controller that holds the serving lease, in whichever service; nil without one.
    public var controller: String?
    /// Where a virtual machine attaches; nil before the function first had a controller.
    public var hostSocketPath: String?
    /// Whether a virtual machine is connected.
    public var isHostConnected: Bool

    public init(
        identity: FunctionIdentity, controller: String?, hostSocketPath: String?,
        isHostConnected: Bool
    ) {
        self.identity = identity
        self.controller = controller
        self.hostSocketPath = hostSocketPath
        self.isHostConnected = isHostConnected
    }
}
