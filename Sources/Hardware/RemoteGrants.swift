public import Memory

/// Host memory as the host's side has registered it, for a service that reaches it by RDMA alone.
/// The keys end before the host hears that access has ended; there are some while a queue runs.
public struct RemoteGrants: Equatable, Sendable {
    /// The in-flight region that a front end keeps.
    public struct Inflight: Equatable, Sendable {
        public var place: RemoteAddress
        public var queueCount: Int
        public var queueSize: Int

        public init(place: RemoteAddress, queueCount: Int, queueSize: Int) {
            self.place = place
            self.queueCount = queueCount
            self.queueSize = queueSize
        }
    }

    public var regions: [RemoteRegion]
    public var functionMemory: RemoteAddress
    /// The doorbells' file of an NVMe function.
    public var doorbells: RemoteAddress?
    public var inflight: Inflight?
    /// Why there are no keys, with the cure; nil when there are.
    public var refusal: String?

    public init(
        regions: [RemoteRegion], functionMemory: RemoteAddress, inflight: Inflight? = nil
    ) {
        self.regions = regions
        self.functionMemory = functionMemory
        self.inflight = inflight
    }

    /// Nothing: no queue runs.
    public static var none: RemoteGrants {
        RemoteGrants(regions: [], functionMemory: RemoteAddress(0, key: 0))
    }

    /// Without keys.
    public init(refusal: String) {
        self.init(regions: [], functionMemory: RemoteAddress(0, key: 0))
        self.refusal = refusal
    }
}

/// What a service and the host's side say to each other over a queue pair: 16 bytes.
public struct RelayMessage: Equatable, Sendable {
    public enum Kind: UInt8, Sendable {
        /// From the service: this queue's kicks go to the queue pair that says so.
        case attach = 1
        /// From the service: interrupt the driver.
        case interrupt = 2
        /// From the host's side: the driver has kicked.
        case kick = 3
    }

    public static let byteCount = 16
    public let kind: Kind
    public let queue: Int
    public let lease: UInt64

    public init(_ kind: Kind, lease: UInt64, queue: Int) {
        self.kind = kind
        self.queue = queue
        self.lease = lease
    }

    /// Kind, three zeros, the queue's number, the lease's; little-endian.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = [kind.rawValue, 0, 0, 0]
        for shift in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: queue >> (8 * shift))) }
        for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: lease >> (8 * shift))) }
        return bytes
    }

    /// Nil for what is no message.
    public init?(_ bytes: HostSegment) {
        guard bytes.byteCount >= Self.byteCount,
            let kind = Kind(rawValue: bytes.load(UInt8.self))
        else { return nil }
        self.init(
            kind, lease: bytes.load(UInt64.self, at: 8),
            queue: Int(bytes.load(UInt32.self, at: 4)))
    }
}
