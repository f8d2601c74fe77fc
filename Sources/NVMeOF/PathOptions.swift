internal import Bdev
internal import CWire
public import Platform

/// Where a path leads and how it behaves: the parameters of bdev_nvme_attach_controller.
public struct PathOptions: Equatable, Sendable {
    public enum Family: String, Sendable {
        case ipv4 = "IPv4"
        case ipv6 = "IPv6"
    }

    public enum Transport: String, Sendable {
        case tcp
        case rdma
    }

    public var transport = Transport.tcp
    /// Numeric.
    public var address: String
    public var port: UInt16
    public var family = Family.ipv4
    public var subsystem: String
    public var host: String
    /// The local address to connect from; empty for any.
    public var hostAddress = ""
    public var hasHeaderDigest = false
    public var hasDataDigest = false
    /// I/O queues asked for.
    public var queueCount = 1024
    /// Entries of an I/O queue.
    public var queueEntries = 128
    public var timers = PathTimers()
    public var commandTimeout = CommandTimeout()
    public var socket = TCPSocket.Options()
    /// The path was asked for as one that sends large data from where it is, whatever is usual.
    public var pinsAlways = false
    /// To pin less than that costs more than to copy it.
    public static let usualPinnedByteCount = 16 << 10

    public init(address: String, port: UInt16, subsystem: String, host: String) {
        self.address = address
        self.port = port
        self.subsystem = subsystem
        self.host = host
    }

    /// Whether `other` is the same way to the same subsystem.
    public func isSamePath(as other: PathOptions) -> Bool {
        transport == other.transport && address == other.address && port == other.port
            && subsystem == other.subsystem && hostAddress == other.hostAddress
    }

    public var place: String { "\(transport.rawValue) \(address) port \(port)" }
}

/// The timers of a path. What they say of a lost connection:
///
/// it is made again at once, and then every `reconnectDelaySeconds`; requests wait meanwhile, for
/// `fastIOFailSeconds` (0: as long as the path is tried), and fail from then on; after
/// `controllerLossSeconds` (-1: never) the path is deleted. With 0 there is one try, and the path
/// stays failed until it is reset or detached.
public struct PathTimers: Equatable, Sendable {
    public var controllerLossSeconds: Int64 = 0
    public var reconnectDelaySeconds: UInt64 = 0
    public var fastIOFailSeconds: UInt64 = 0
    /// Twice in this time the target is asked whether it is there; 0: never.
    public var keepAliveMilliseconds: UInt64 = 10_000
    /// For a connection and for each command of the control plane.
    public var patienceMilliseconds: UInt64 = 10_000

    public init() {}

    /// What is wrong with the combination, in SPDK's rules; nil when nothing is.
    public var refusal: String? {
        let (loss, delay, fast) = (
            controllerLossSeconds, reconnectDelaySeconds, fastIOFailSeconds
        )
        if loss < -1 { return "ctrlr_loss_timeout_sec \(loss): it is -1 or more" }
        if loss == 0 {
            return delay == 0 && fast == 0
                ? nil
                : "reconnect_delay_sec and fast_io_fail_timeout_sec are 0 when "
                    + "ctrlr_loss_timeout_sec is 0"
        }
        if delay == 0 { return "reconnect_delay_sec is at least 1 with ctrlr_loss_timeout_sec" }
        if loss > 0 && delay > UInt64(loss) {
            return "reconnect_delay_sec \(delay) is longer than ctrlr_loss_timeout_sec \(loss)"
        }
        if fast > 0 && fast < delay {
            return "fast_io_fail_timeout_sec \(fast) is shorter than reconnect_delay_sec \(delay)"
        }
        if fast > 0 && loss > 0 && fast > UInt64(loss) {
            return "fast_io_fail_timeout_sec \(fast) is longer than ctrlr_loss_timeout_sec \(loss)"
        }
        return nil
    }
}

/// What a target says of one of its controllers.
public struct ControllerFacts: Equatable, Sendable {
    public var id: UInt16 = 0
    public var vendorID: UInt16 = 0
    public var model = ""
    public var serial = ""
    public var firmware = ""
    public var subsystem = ""
    /// The version register: major in bits 31:16, minor in 15:8.
    public var version: UInt32 = 0
    /// OACS and CMIC.
    public var adminCommands: UInt16 = 0
    public var sharing: UInt8 = 0
    /// CQT: how long its commands can have effects after its association has ended.
    public var quiesceMilliseconds: UInt16 = 0
    public var hasAccessStates: Bool { Int(sharing) & NVME_CMIC_ANA != 0 }
}

/// What a target says of a namespace.
struct NamespaceFacts: Equatable, Sendable {
    /// What tells that two paths lead to the same namespace.
    struct Identity: Equatable, Sendable {
        var id: UInt32
        var uuid: UUID?
    }

    var identity: Identity
    var blockByteCount: Int
    var blockCount: UInt64
    var operations: Set<BlockOperation>
    var isShared: Bool
    var access = NamespacePath.Access.optimized

    var id: UInt32 { identity.id }
}
