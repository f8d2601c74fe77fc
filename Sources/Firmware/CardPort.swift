/// A port of the card: a PF of the DPU with a firmware device of its own.
public enum CardPort: Int, CaseIterable, Sendable {
    case first = 0
    case second = 1

    /// The port that `device` means: an mst name, a PCI address or an RDMA device.
    public init(device: String) throws(FirmwareError) {
        guard let port = Self.allCases.first(where: { $0.names.contains(device) }) else {
            throw .unknownDevice(device)
        }
        self = port
    }

    public var mstName: String { "/dev/mst/mt41692_pciconf0" + (self == .first ? "" : ".1") }

    /// All names that mean this port.
    public var names: [String] {
        [mstName, "0000:03:00.\(rawValue)", "03:00.\(rawValue)", "mlx5_\(rawValue)"]
    }

    static var allNamesText: String {
        allCases.map { $0.names.joined(separator: ", ") }.joined(separator: "; ")
    }
}
