/// An RDMA device of the card: what it advertises, and what limits it really.
///
/// The two differ. A queue pair needs a doorbell register; registers come in pages of the device's
/// register BAR, and a page is as large as a page of the operating system. A subfunction (SF) owns
/// a small slice of the card's BAR2, so with 64 KiB pages it has a handful of pages and stops at
/// 32 queue pairs while it advertises 131072 (`RDMADeviceResources` does the arithmetic).
public struct RDMADevice: Sendable, Equatable {
    public enum Kind: String, Sendable {
        case physicalFunction
        case subfunction
    }

    /// `ibv_query_device`'s numbers: upper bounds of the silicon, not of this device.
    public struct Advertised: Sendable, Equatable {
        public var queuePairs = 131_072
        public var completionQueues = 16_777_216
        public var protectionDomains = 8_388_608
        public var workRequestsPerQueuePair = 32_768
        public var entriesPerCompletionQueue = 4_194_303

        public init() {}
    }

    /// A page of the operating system, which is what the device gives registers in.
    public enum PageSize: Int, Sendable, CaseIterable {
        case kib4 = 4096
        case kib64 = 65536
    }

    /// `mlx5_0`, …
    public let name: String
    public let kind: Kind
    /// The card's port that it belongs to: 0 or 1.
    public let port: Int
    public let pageSize: PageSize
    /// Register BAR in KiB.
    public let barKiB: Int
    /// Pages that the init segment and the kernel driver take (the split is inferred).
    public let reservedPages: Int
    public let advertised = Advertised()

    /// Queue pairs that one function can hold whatever its BAR; measured on a PF, assumed for SFs.
    public static let queuePairCap = 63_952

    public init(
        name: String, kind: Kind, port: Int, pageSize: PageSize, barKiB: Int,
        reservedPages: Int = 2
    ) {
        precondition(barKiB > 0 && reservedPages >= 0, "a device has a BAR")
        self.name = name
        self.kind = kind
        self.port = port
        self.pageSize = pageSize
        self.barKiB = barKiB
        self.reservedPages = reservedPages
    }

    /// Pages of the BAR that contexts can have.
    public var contextPages: Int { max(0, barKiB * 1024 / pageSize.rawValue - reservedPages) }

    /// KiB of register BAR of a PF (`PF_LOG_BAR_SIZE` 5, that is 32 MiB).
    public static let physicalFunctionBARKiB = 32 * 1024

    /// The devices of one card: a PF and an SF for each port, and a second SF on port 0.
    /// `subfunctionBARKiB` gives the BAR of one SF of a port, from the firmware configuration.
    public static func all(
        pageSize: PageSize, subfunctionBARKiB: (_ port: Int) -> Int
    ) -> [RDMADevice] {
        let layout: [(kind: Kind, port: Int)] = [
            (.physicalFunction, 0), (.physicalFunction, 1),
            (.subfunction, 0), (.subfunction, 1), (.subfunction, 0),
        ]
        return layout.enumerated().map { index, device in
            RDMADevice(
                name: "mlx5_\(index)", kind: device.kind, port: device.port, pageSize: pageSize,
                barKiB: device.kind == .physicalFunction
                    ? physicalFunctionBARKiB : subfunctionBARKiB(device.port))
        }
    }
}
