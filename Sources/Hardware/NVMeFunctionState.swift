public import Platform

/// What a controller offers to the driver of an NVMe function.
public struct NVMeOffer: Equatable, Sendable {
    public var controller: String
    /// I/O queues, besides the admin queue.
    public var queueCount: Int
    /// Entries of an I/O queue at most (CAP.MQES + 1).
    public var queueSize: Int
    /// Function memory that the device model needs.
    public var memoryByteCount: Int
    /// Vectors that a VF is to have from now on; nil leaves its assignment alone.
    public var vectorCount: Int?
    /// Whether the lease may stand by while another service has the serving one.
    public var standsBy = false

    public init(
        controller: String, queueCount: Int, queueSize: Int, memoryByteCount: Int
    ) {
        self.controller = controller
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.memoryByteCount = memoryByteCount
    }
}

/// What the host has set up on an NVMe function: the whole of it, to be compared with what runs.
public struct NVMeFunctionState: Sendable {
    /// Grows with every change.
    public var generation: UInt64
    /// Raised by every reset (CC.EN 1 to 0, FLR, a lost host): nothing is written into host memory
    /// for an older epoch.
    public var epoch: UInt64
    /// Grows when the memory table changes.
    public var memoryGeneration: UInt64
    /// What the device may reach; nothing while bus mastering is off.
    public var memory: [MemoryGrant]
    /// CC, AQA, ASQ and ACQ (NVMe Base 2.0 §3.1.3).
    public var configuration: UInt32
    public var adminQueueAttributes: UInt32
    public var adminSubmissionQueue: UInt64
    public var adminCompletionQueue: UInt64
    /// CSTS as the host reads it: what a service has acknowledged for this epoch.
    public var status: UInt32
    /// Eventfds by MSI-X vector; nil where the host has set up none.
    public var vectors: [SharedDescriptor?]
    /// Of the lease that the state is sent to.
    public var standing = LeaseStanding.serving(after: [])
    /// For a service that reaches host memory by RDMA alone: its keys. `memory` and `vectors` say
    /// nothing then.
    public var remote: RemoteGrants?
    /// `NVMeFunctionPort.lossCount` when it came.
    public var lossCount = 0

    public init(
        generation: UInt64, epoch: UInt64, memoryGeneration: UInt64, memory: [MemoryGrant],
        configuration: UInt32, adminQueueAttributes: UInt32, adminSubmissionQueue: UInt64,
        adminCompletionQueue: UInt64, status: UInt32, vectors: [SharedDescriptor?]
    ) {
        self.generation = generation
        self.epoch = epoch
        self.memoryGeneration = memoryGeneration
        self.memory = memory
        self.configuration = configuration
        self.adminQueueAttributes = adminQueueAttributes
        self.adminSubmissionQueue = adminSubmissionQueue
        self.adminCompletionQueue = adminCompletionQueue
        self.status = status
        self.vectors = vectors
    }
}

/// How a function's doorbells reach its service (design, "Doorbells").
public enum DoorbellMode: String, Sendable {
    /// Each store is a message to the hardware, which wakes the queue: an idle queue sleeps.
    case trapped
    /// The host stores into memory that the service polls.
    case mapped
}

/// The doorbells in their memory file, which stands for the first bytes of BAR0: a page behind the
/// registers, and at that offset in the file too, for clients that map regions from their start.
public enum DoorbellPage {
    public static let offset = 4096
    public static let byteCount = 4096
    public static let fileByteCount = 8192
}
