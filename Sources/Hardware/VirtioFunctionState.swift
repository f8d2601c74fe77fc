internal import CWire
internal import Memory
public import Platform

/// What a controller offers to the driver of a virtio function.
public struct VirtioOffer: Equatable, Sendable {
    public var controller: String
    /// Feature bits (Virtio 1.2 §6, §5.2.3).
    public var features: UInt64
    /// Device configuration space.
    public var configuration: [UInt8]
    public var queueCount: Int
    public var queueSize: Int
    /// Vectors that a VF is to have from now on; nil leaves its assignment alone.
    public var vectorCount: Int?
    /// Whether the lease may stand by while another service has the serving one.
    public var standsBy = false
    /// Whether the pages that are written can be logged: not by a service of the RDMA data path.
    public var logsPages = true

    public init(
        controller: String, features: UInt64, configuration: [UInt8], queueCount: Int,
        queueSize: Int
    ) {
        self.controller = controller
        self.features = features
        self.configuration = configuration
        self.queueCount = queueCount
        self.queueSize = queueSize
    }
}

/// What the host has set up on a virtio function: the whole of it, to be compared with what runs.
public struct VirtioFunctionState: Sendable {
    /// Grows with every change.
    public var generation: UInt64
    /// Raised by each reset: nothing is written into host memory for an older epoch.
    public var epoch: UInt64
    public var driverFeatures: UInt64
    /// Grows when the memory table changes.
    public var memoryGeneration: UInt64
    public var memory: [MemoryGrant]
    public var queues: [QueueGrant]
    /// The front end's own in-flight region, used instead of function memory.
    public var inflight: InflightGrant?
    /// Where writes to host memory are marked while `isLogging`; nil before there is one.
    public var dirtyLog: DirtyLogGrant?
    /// Whether the front end wants to know them (VHOST_F_LOG_ALL).
    public var isLogging = false
    /// Grows when anything about the log changes, that of a queue included.
    public var logGeneration: UInt64 = 0
    /// For a service of the RDMA data path, in the place of `memory` and `inflight`.
    public var remote: RemoteGrants?
    /// Of the lease that the state is sent to.
    public var standing = LeaseStanding.serving(after: [])

    public init(
        generation: UInt64, epoch: UInt64, driverFeatures: UInt64, memoryGeneration: UInt64,
        memory: [MemoryGrant], queues: [QueueGrant], inflight: InflightGrant?
    ) {
        self.generation = generation
        self.epoch = epoch
        self.driverFeatures = driverFeatures
        self.memoryGeneration = memoryGeneration
        self.memory = memory
        self.queues = queues
        self.inflight = inflight
    }
}

/// One region of host memory.
public struct MemoryGrant: Sendable {
    public var guestAddress: UInt64
    public var byteCount: UInt64
    public var userAddress: UInt64
    public var fileOffset: UInt64
    public var file: SharedDescriptor

    public init(
        guestAddress: UInt64, byteCount: UInt64, userAddress: UInt64, fileOffset: UInt64,
        file: SharedDescriptor
    ) {
        self.guestAddress = guestAddress
        self.byteCount = byteCount
        self.userAddress = userAddress
        self.fileOffset = fileOffset
        self.file = file
    }
}

/// One virtqueue as the host has set it up.
public struct QueueGrant: Sendable {
    public var index: Int
    /// Counts the starts of the queue: another number means another life of the ring.
    public var run: UInt64
    public var isRunning: Bool
    public var size: Int
    public var descriptorArea: UInt64
    public var driverArea: UInt64
    public var deviceArea: UInt64
    /// Where it starts, as SET_VRING_BASE gives it.
    public var base: UInt32
    /// Whether writes to the ring are logged too (VHOST_VRING_F_LOG).
    public var logsRing = false
    /// Guest address of the device area, for the log.
    public var logAddress: UInt64 = 0
    /// Eventfds; nil when the host polls.
    public var kick: SharedDescriptor?
    public var call: SharedDescriptor?

    public init(index: Int) {
        self.index = index
        run = 0
        isRunning = false
        size = 0
        descriptorArea = 0
        driverArea = 0
        deviceArea = 0
        base = 0
    }
}

/// A front end's bitmap of written pages: one bit for each 4096 bytes of guest physical address.
public struct DirtyLogGrant: Sendable {
    public var byteCount: UInt64
    public var fileOffset: UInt64
    public var file: SharedDescriptor

    public init(byteCount: UInt64, fileOffset: UInt64, file: SharedDescriptor) {
        self.byteCount = byteCount
        self.fileOffset = fileOffset
        self.file = file
    }
}

/// The in-flight region that a front end keeps (QEMU, vhost-user.rst, "Inflight I/O tracking").
public struct InflightGrant: Sendable {
    public var byteCount: UInt64
    public var fileOffset: UInt64
    public var queueCount: Int
    public var queueSize: Int
    public var file: SharedDescriptor

    public init(
        byteCount: UInt64, fileOffset: UInt64, queueCount: Int, queueSize: Int,
        file: SharedDescriptor
    ) {
        self.byteCount = byteCount
        self.fileOffset = fileOffset
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.file = file
    }

    /// Where a queue would go on as of its last published batch, as GET_VRING_BASE reports it; nil
    /// when nothing was logged.
    public func loggedBase(queue: Int, isPacked: Bool) -> UInt32? {
        let stride = InflightGrant.stride(queueSize: queueSize)
        guard queue < queueCount,
            let mapping = try? Mapping(
                file.number, offset: fileOffset, byteCount: Int(byteCount))
        else { return nil }
        let area = mapping.bytes.part(at: queue * stride, byteCount: stride)
        return InflightGrant.base(in: area, isPacked: isPacked)
    }

    /// As above, from the queue's area itself; nil for one that was never used.
    static func base(in area: SharedBytes, isPacked: Bool) -> UInt32? {
        if isPacked {
            let log = area.load(vhost_inflight_packed_queue.self, at: 0)
            if log.version != 1 { return nil }
            // Index and wrap counter of the used side; nothing beyond it is under way.
            let used = UInt32(log.used_idx) | (log.used_wrap_counter != 0 ? 0x8000 : 0)
            return used | used << 16
        }
        typealias Layout = MemoryLayout<vhost_inflight_split_queue>
        guard let version = Layout.offset(of: \.version), let used = Layout.offset(of: \.used_idx),
            area.loadAcquire16(at: version) == 1
        else { return nil }
        return UInt32(area.loadAcquire16(at: used))
    }

    /// Bytes of one queue's part: room for either ring format, on a cache line of its own.
    public static func stride(queueSize: Int) -> Int { (64 + 32 * queueSize + 63) & ~63 }
}
