public import Card
public import DeviceResources
public import Hardware

/// Which functions a software DPU has, and where it keeps its sockets.
public struct Inventory: Sendable {
    /// The card without a state directory; with one, its serial number.
    public var card = CardConfiguration()
    /// Directory of the firmware configuration and of what the card keeps; nil keeps nothing.
    public var stateDirectory: String?
    /// Static virtio-blk PFs and their VFs, whatever the firmware configuration says.
    public var virtioBlkPFs: Int?
    public var virtioBlkVFs: Int?
    /// The same of NVMe.
    public var nvmePFs: Int?
    public var nvmeVFs: Int?
    /// How NVMe doorbells reach a service, of all functions or of some, by VUID.
    public var doorbells = DoorbellMode.trapped
    public var doorbellsOfFunctions: [String: DoorbellMode] = [:]
    /// Pages of the system that the services run on, as the RDMA devices see them.
    public var pageSize = RDMADevice.PageSize.kib4
    /// Directory of the `control` and `host` sockets.
    public var runDirectory: String
    /// Mode of the host sockets, and their owner when it is not this process's.
    public var hostSocketMode: UInt32 = 0o600
    public var hostSocketOwner: (user: UInt32, group: UInt32)?
    /// RDMA device by which services reach host memory; nil: they map it.
    public var rdmaDevice: String?
    /// Whether the DPU lives inside the service that uses it.
    public var isEmbedded = false

    /// Who holds what must outlive this process.
    public var keeper = KeeperChoice.none
    /// Gives up what a keeper still has of an earlier process.
    public var startsFresh = false

    /// Whether and how a software DPU has a keeper, at `RUN/control/keeper.sock`.
    public enum KeeperChoice: Sendable {
        /// Everything ends with this process.
        case none
        /// One that is there already.
        case running
        /// The one that is there, or else this program: it gets the listening socket as its
        /// descriptor 3, and these arguments.
        case program(String, [String])
    }

    public init(runDirectory: String) { self.runDirectory = runDirectory }

    /// Takes `MODE` for all functions, or `VUID=MODE` for one, as command lines give it.
    /// - Returns: false when it is neither.
    public mutating func takeDoorbells(_ text: String) -> Bool {
        let parts = text.split(separator: "=", omittingEmptySubsequences: false)
        guard parts.count <= 2, let mode = DoorbellMode(rawValue: String(parts[parts.count - 1]))
        else { return false }
        if parts.count == 2 {
            doorbellsOfFunctions[String(parts[0])] = mode
        } else {
            doorbells = mode
        }
        return true
    }

    func doorbellMode(of vuid: String) -> DoorbellMode {
        doorbellsOfFunctions[vuid] ?? doorbells
    }

    public var controlSocketPath: String { runDirectory + "/control/dpu.sock" }
    /// Where the keeper listens.
    public var keeperSocketPath: String { runDirectory + "/control/keeper.sock" }
    var hostDirectory: String { runDirectory + "/host" }
    var controlDirectory: String { runDirectory + "/control" }
}
