/// A block device made on top of another one (SPDK: a vbdev). It exists while its base does.
public struct VirtualDevice: Sendable {
    public let name: String
    public let baseName: String
    public let uuid: UUID
    /// Who claims the base: the parts of one split claim it together.
    public let claimant: String
    let makeBackend: @Sendable (BlockDevice) throws(BdevError) -> any Backend

    public init(
        name: String, on baseName: String, uuid: UUID = .random(), claimant: String? = nil,
        makeBackend: @escaping @Sendable (BlockDevice) throws(BdevError) -> any Backend
    ) {
        self.name = name
        self.baseName = baseName
        self.uuid = uuid
        self.claimant = claimant ?? name
        self.makeBackend = makeBackend
    }
}
