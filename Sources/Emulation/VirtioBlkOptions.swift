/// How a virtio-blk controller was asked to be (`virtio_blk_controller_create`).
public struct VirtioBlkOptions: Equatable, Sendable {
    public var name: String
    public var vuid: String
    /// Nil for a controller without storage: capacity 0.
    public var bdev: String?
    public var queueCount: Int
    public var queueSize: Int
    /// Largest segment in bytes.
    public var sizeMax: UInt32
    /// Most segments of a request.
    public var segMax: UInt32
    /// What GET_ID answers, at most 20 bytes.
    public var serial: String
    public var isInOrder: Bool
    public var hasAdminQueue: Bool
    public var isIndirect: Bool
    public var isReadOnly: Bool
    public var isLocalOptimized: Bool
    public var startsSuspended: Bool
    /// Vectors that a VF is to have; nil leaves its assignment alone.
    public var vectorCount: Int?
    /// Asked for with `dynamic_msix`. Every PF's VFs share its pool anyway; it is listed only.
    public var isDynamic = false
    /// Waits for another service to hand the function over, so long; nil does not.
    public var listenerPatience: Duration?

    public init(
        name: String, vuid: String, bdev: String?, queueCount: Int, queueSize: Int,
        sizeMax: UInt32, segMax: UInt32, serial: String, isInOrder: Bool, hasAdminQueue: Bool,
        isIndirect: Bool, isReadOnly: Bool, isLocalOptimized: Bool, startsSuspended: Bool
    ) {
        self.name = name
        self.vuid = vuid
        self.bdev = bdev
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.sizeMax = sizeMax
        self.segMax = segMax
        self.serial = serial
        self.isInOrder = isInOrder
        self.hasAdminQueue = hasAdminQueue
        self.isIndirect = isIndirect
        self.isReadOnly = isReadOnly
        self.isLocalOptimized = isLocalOptimized
        self.startsSuspended = startsSuspended
    }
}
