/// What an RDMA device says it has, and what it can really give (design, "The QP limit").
public struct RDMADeviceListing: Equatable, Sendable {
    /// Device name: "mlx5_2".
    public var name: String
    /// "PF" or "SF".
    public var kind: String
    public var pageByteCount: Int
    /// KiB of BAR for its registers.
    public var barKiB: Int
    /// RC queue pairs as the device's attributes advertise them.
    public var advertisedQueuePairs: Int
    /// RC queue pairs that a context opened now could create.
    public var usableQueuePairs: Int
    /// RC queue pairs that exist.
    public var queuePairCount: Int

    public init(
        name: String, kind: String, pageByteCount: Int, barKiB: Int, advertisedQueuePairs: Int,
        usableQueuePairs: Int, queuePairCount: Int
    ) {
        self.name = name
        self.kind = kind
        self.pageByteCount = pageByteCount
        self.barKiB = barKiB
        self.advertisedQueuePairs = advertisedQueuePairs
        self.usableQueuePairs = usableQueuePairs
        self.queuePairCount = queuePairCount
    }
}

/// RC queue pairs that a service needs before it can drive its first function: one for each of its
/// reactors, however many controllers and queues there will be.
public struct QueuePairNeed: Equatable, Sendable {
    public var device: String
    public var count: Int

    public init(device: String, count: Int) {
        self.device = device
        self.count = count
    }
}
