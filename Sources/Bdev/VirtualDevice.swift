/// A block device made on top of another one (SPDK: a vbdev). It exists while its base does.
public struct VirtualDevice: Sendable {
    public let name: String
    public let baseName: String
    public let uuid: UUID
    /// Whether nobody else may claim the base.
    public let claimsBase: Bool
    let makeBackend: @Sendable (BlockDevice) throws(BdevError) -> any Backend

    public init(
        name: String, on baseName: String, uuid: UUID = .random(), claimsBase: Bool = true,
        makeBackend: @escaping @Sendable (BlockDevice) throws(BdevError) -> any Backend
    ) {
        self.name = name
        self.baseName = baseName
        self.uuid = uuid
        self.claimsBase = claimsBase
        self.makeBackend = makeBackend
    }
}
