/// How a service reaches host memory.
public enum DataPath: String, Sendable, CaseIterable {
    /// It maps the host's memory files.
    case mapped
    /// By RDMA alone, with keys that the host's side registers.
    case rdma
}

/// Where the queue pairs of a service find the host's side, and how it names itself there.
public struct RelayPlace: Equatable, Sendable {
    public var address: String
    public var port: UInt16
    public var holder: UInt64

    public init(address: String, port: UInt16, holder: UInt64) {
        self.address = address
        self.port = port
        self.holder = holder
    }
}
