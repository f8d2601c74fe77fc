/// What an emulated PCIe function is called, by every name that an RPC may use.
public struct FunctionIdentity: Hashable, Sendable {
    public enum Kind: String, Sendable {
        case virtioBlk = "VBLK"
        case nvme = "NVME"

        /// Queues that so many MSI-X vectors can serve, each with a vector of its own. A virtio
        /// device keeps one for configuration changes; an admin queue shares one.
        public func queues(of vectorCount: Int) -> Int {
            self == .nvme ? vectorCount : max(0, vectorCount - 1)
        }
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
    /// Most virtqueues, or NVMe I/O queues, it can have.
    public var queueLimit: Int
    /// Most entries of a queue.
    public var queueSizeLimit: Int
    /// PCI vendor, and vendor of the subsystem.
    public var vendorID: UInt16 = 0
    public var subsystemVendorID: UInt16 = 0

    public init(
        kind: Kind, vuid: String, vhcaID: Int, pfIndex: Int, vfIndex: Int?, bdf: String,
        isHotplugged: Bool, vectorCount: Int, queueLimit: Int,
        queueSizeLimit: Int = 256
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
        self.queueSizeLimit = queueSizeLimit
    }
}

/// Whether the host has a hot-plug PF; the raw values are what SNAP prints.
public enum HotplugState: String, Sendable {
    /// The host does not see it.
    case powerOff = "POWER_OFF"
    /// It was shown to a host that has not taken it yet.
    case plugging = "HOTPLUG"
    case powerOn = "POWER_ON"
    /// The host was asked to let go of it.
    case unplugging = "HOTUNPLUG_PREPARE"
}

/// A function, who drives it, and what the host makes of it.
public struct FunctionListing: Equatable, Sendable {
    public var identity: FunctionIdentity
    /// Name of the controller that holds the serving lease, in whichever service; nil without one.
    public var controller: String?
    /// Number of its latest lease, whether that has ended or not; nil before the first one.
    public var lastLease: UInt64?
    /// Where a virtual machine attaches; nil before the function first had a controller.
    public var hostSocketPath: String?
    /// Whether a virtual machine is connected.
    public var isHostConnected: Bool
    /// Nil for static functions.
    public var hotplugState: HotplugState?
    /// False for a VF that the host has not enabled (sriov_numvfs).
    public var isEnabled = true
    /// Whether the host has a driver bound to it.
    public var isDriverBound = false
    /// A PF with VFs: vectors that belong to none of them, and VFs that the host has enabled.
    public var freeVectorCount: Int?
    public var enabledVFCount = 0
    /// Vectors that `setVectors` would accept now.
    public var vectorRange: ClosedRange<Int>

    public init(
        identity: FunctionIdentity, controller: String?, hostSocketPath: String?,
        isHostConnected: Bool
    ) {
        self.identity = identity
        self.controller = controller
        self.hostSocketPath = hostSocketPath
        self.isHostConnected = isHostConnected
        vectorRange = identity.vectorCount...identity.vectorCount
    }
}

/// What a hot-plug PF is to be.
public struct FunctionRequest: Equatable, Sendable {
    public var kind: FunctionIdentity.Kind
    /// Nil: what the firmware configuration gives a PF of its kind.
    public var vectorCount: Int?
    public var vendorID: UInt16?
    public var deviceID: UInt16?
    public var subsystemID: UInt16?
    public var subsystemVendorID: UInt16?
    public var revisionID: UInt8?
    /// 24 bits.
    public var classCode: UInt32?
    /// Shows it to the host at once, before it can have a controller.
    public var isPlugged = false

    public init(kind: FunctionIdentity.Kind) { self.kind = kind }
}
