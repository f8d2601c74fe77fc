/// Where a virtqueue lies and how it is spoken, as negotiated with the driver. Plain and untrusted:
/// `Virtqueue.init` checks it all.
public struct VirtqueueSetup: Equatable, Sendable {
    /// Entries; a split ring has a power of two of them.
    public var size: Int
    public var isPacked: Bool
    public var usesEventIndex: Bool
    public var allowsIndirect: Bool
    /// Descriptor area, driver area (available ring) and device area (used ring), in the front
    /// end's address space (Virtio 1.2 §2.6).
    public var descriptorArea: UInt64
    public var driverArea: UInt64
    public var deviceArea: UInt64
    /// Where to go on: the next available entry, and for a packed ring the wrap counters too.
    public var position: VirtqueuePosition

    public init(
        size: Int, isPacked: Bool, usesEventIndex: Bool, allowsIndirect: Bool,
        descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64,
        position: VirtqueuePosition
    ) {
        self.size = size
        self.isPacked = isPacked
        self.usesEventIndex = usesEventIndex
        self.allowsIndirect = allowsIndirect
        self.descriptorArea = descriptorArea
        self.driverArea = driverArea
        self.deviceArea = deviceArea
        self.position = position
    }
}

/// How far a device has come in a virtqueue.
public struct VirtqueuePosition: Equatable, BitwiseCopyable, Sendable {
    /// Split: free-running 16-bit indices. Packed: ring offsets, wrap counters beside them.
    public var nextAvailable: UInt16
    public var nextUsed: UInt16
    public var availableWrap: Bool
    public var usedWrap: Bool

    /// The start of a fresh ring.
    public init() { self.init(nextAvailable: 0, nextUsed: 0, availableWrap: true, usedWrap: true) }

    public init(nextAvailable: UInt16, nextUsed: UInt16, availableWrap: Bool, usedWrap: Bool) {
        self.nextAvailable = nextAvailable
        self.nextUsed = nextUsed
        self.availableWrap = availableWrap
        self.usedWrap = usedWrap
    }

    /// From the number that SET_VRING_BASE and GET_VRING_BASE carry: the available index of a
    /// split ring; for a packed one offset and wrap of both sides (QEMU, vhost-user.rst).
    public init(vringBase: UInt32, isPacked: Bool) {
        if isPacked {
            // Some front ends give only the available side of a fresh ring.
            let used = vringBase == 0x8000 ? 0x8000 : vringBase >> 16
            self.init(
                nextAvailable: UInt16(vringBase & 0x7FFF), nextUsed: UInt16(used & 0x7FFF),
                availableWrap: vringBase & 0x8000 != 0, usedWrap: used & 0x8000 != 0)
        } else {
            let index = UInt16(truncatingIfNeeded: vringBase)
            self.init(nextAvailable: index, nextUsed: index, availableWrap: true, usedWrap: true)
        }
    }

    public func vringBase(isPacked: Bool) -> UInt32 {
        guard isPacked else { return UInt32(nextAvailable) }
        let available = UInt32(nextAvailable) | (availableWrap ? 0x8000 : 0)
        let used = UInt32(nextUsed) | (usedWrap ? 0x8000 : 0)
        return available | used << 16
    }
}

/// Why a virtqueue cannot be used, or no longer.
public enum QueueFault: UInt8, Error, BitwiseCopyable, Sendable, CaseIterable {
    case badSize
    case misaligned
    case notMapped
    /// The available index ran more than a ring ahead.
    case availableIndex
    /// A head or a buffer id past the end of the ring.
    case descriptorIndex
    /// A chain that loops, or is longer than its table.
    case endlessChain
    /// An indirect table inside another, of no whole number of entries, or not negotiated.
    case indirectTable
    /// Host memory was cut short.
    case memoryGone
    /// The interrupt's eventfd was full and blocking.
    case interruptBlocked
    /// The in-flight region does not fit the ring.
    case inflightRegion
    /// The log of dirty pages was cut short.
    case dirtyLogGone
    /// RDMA data path: no room in the staging memory for a further queue.
    case stagingFull

    public var text: String {
        switch self {
        case .badSize: "the ring size is not a power of two that the function offers"
        case .misaligned: "a ring area is not aligned (Virtio 1.2 §2.7)"
        case .notMapped: "a ring area lies outside the granted memory"
        case .availableIndex: "the available index is more than a ring ahead"
        case .descriptorIndex: "a descriptor index or buffer id is past the end of the ring"
        case .endlessChain: "a descriptor chain does not end"
        case .indirectTable: "an indirect table is not allowed or malformed"
        case .memoryGone: "host memory was truncated by the front end"
        case .interruptBlocked: "the call eventfd is full and blocks"
        case .inflightRegion: "the in-flight region does not fit the ring"
        case .dirtyLogGone: "the dirty log was truncated by the front end"
        case .stagingFull:
            "the reactor's staging memory has no room for a further queue of the RDMA data path; "
                + "serve fewer queues, or give the service more cores (-m)"
        }
    }
}
