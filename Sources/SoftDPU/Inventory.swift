internal import Hardware

/// Which functions a software DPU has, and where it keeps its sockets.
public struct Inventory: Sendable {
    /// First part of every VUID.
    public var serial = "SOFTSNAP0001"
    public var virtioBlkCount = 1
    /// Virtqueues that a virtio-blk function can have.
    public var queueLimit = 64
    /// MSI-X vectors of each function: one for configuration changes, the others for queues.
    public var vectorCount = 65
    /// Directory of the `control` and `host` sockets.
    public var runDirectory: String
    /// Mode of the host sockets, and their owner when it is not this process's.
    public var hostSocketMode: UInt32 = 0o600
    public var hostSocketOwner: (user: UInt32, group: UInt32)?
    /// Whether the DPU lives inside the service that uses it.
    public var isEmbedded = false

    public static let functionLimit = 1024

    public init(runDirectory: String) { self.runDirectory = runDirectory }

    public var controlSocketPath: String { runDirectory + "/control/dpu.sock" }
    var hostDirectory: String { runDirectory + "/host" }
    var controlDirectory: String { runDirectory + "/control" }

    /// Static virtio-blk PFs: vhca ids from 1 on, no BDF until a host has enumerated them.
    func functions() -> [FunctionIdentity] {
        (0..<virtioBlkCount).map { index in
            FunctionIdentity(
                kind: .virtioBlk, vuid: "\(serial)VBLKS0D\(index / 8)F\(index % 8)",
                vhcaID: index + 1, pfIndex: index, vfIndex: nil, bdf: "00:00.0",
                isHotplugged: false, vectorCount: vectorCount, queueLimit: queueLimit)
        }
    }
}
