internal import Hardware

/// What the firmware configuration makes of a card: read at a cold boot, constant until the next.
public struct CardConfiguration: Equatable, Sendable {
    /// The functions of one emulation type.
    public struct Family: Equatable, Sendable {
        /// Static PFs.
        public var pfCount: Int
        /// VFs of each static PF.
        public var vfCount: Int
        /// MSI-X vectors of a PF.
        public var pfVectorCount: Int
        /// MSI-X vectors of each VF when they are spread evenly.
        public var vfVectorCount: Int
        /// Queues that a function can have, the admin queue of NVMe not counted, and their entries.
        public var queueLimit: Int
        public var queueSizeLimit: Int
        public var pci: PCIIdentity

        public init(
            pfCount: Int, vfCount: Int, pfVectorCount: Int, vfVectorCount: Int,
            queueLimit: Int, queueSizeLimit: Int, pci: PCIIdentity
        ) {
            self.pfCount = pfCount
            self.vfCount = vfCount
            self.pfVectorCount = pfVectorCount
            self.vfVectorCount = vfVectorCount
            self.queueLimit = queueLimit
            self.queueSizeLimit = queueSizeLimit
            self.pci = pci
        }
    }

    /// First part of every VUID.
    public var serial = "SOFTSNAP0001"
    public var virtioBlk = Family(
        pfCount: 1, vfCount: 0, pfVectorCount: 65, vfVectorCount: 8, queueLimit: 64,
        queueSizeLimit: 256, pci: .virtioBlk)
    public var nvme = Family(
        pfCount: 0, vfCount: 0, pfVectorCount: 64, vfVectorCount: 8, queueLimit: 31,
        queueSizeLimit: 4096, pci: .nvme)
    public var hasSRIOV = true
    /// Downstream ports of the emulated PCIe switch; 0 without one. One of them serves all static
    /// PFs, the others a hot-plug PF each.
    public var switchPortCount = 32

    /// Static PFs and their VFs together.
    public static let functionLimit = 4096
    /// VFs that a host can have at once while the PCIe switch is on.
    public static let switchedVFLimit = 250

    public init() {}

    /// Both families, in the order in which their functions stand.
    var families: [(kind: FunctionIdentity.Kind, family: Family)] {
        [(.virtioBlk, virtioBlk), (.nvme, nvme)]
    }

    func family(_ kind: FunctionIdentity.Kind) -> Family { kind == .nvme ? nvme : virtioBlk }

    public var staticFunctionCount: Int {
        families.reduce(0) { $0 + $1.family.pfCount * (1 + $1.family.vfCount) }
    }

    /// Why there can be no such card; nil when there can.
    public var impossibility: String? {
        for (kind, family) in families where family.pfCount < 0 || family.vfCount < 0 {
            return "\(kind.rawValue): \(family.pfCount) PFs with \(family.vfCount) VFs each"
        }
        let (limit, count) = (Self.functionLimit, staticFunctionCount)
        return count <= limit ? nil : "\(count) static functions; a card has up to \(limit)"
    }
}
