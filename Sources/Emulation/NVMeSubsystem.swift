public import Bdev

/// An NVM subsystem: namespaces and controllers belong to one (NVMe Base 2.0 §3.2).
public struct NVMeSubsystem: Equatable, Sendable {
    public var nqn: String
    public var serialNumber: String
    public var modelNumber: String
    /// Highest namespace identifier (NN).
    public var namespaceLimit: UInt32
    /// Most namespaces that may exist (MNAN).
    public var namespaceCountLimit: UInt32
    public var isSingleController: Bool

    public init(
        nqn: String, serialNumber: String, modelNumber: String, namespaceLimit: UInt32,
        namespaceCountLimit: UInt32, isSingleController: Bool
    ) {
        self.nqn = nqn
        self.serialNumber = serialNumber
        self.modelNumber = modelNumber
        self.namespaceLimit = namespaceLimit
        self.namespaceCountLimit = namespaceCountLimit
        self.isSingleController = isSingleController
    }
}

/// A namespace: a block device with an identifier in its subsystem.
public struct NVMeNamespace: Sendable {
    public let nqn: String
    public let id: UInt32
    public let uuid: UUID
    /// Sixteen bytes, and eight or nil.
    public let nguid: [UInt8]
    public let eui64: [UInt8]?
    let use: BlockDeviceUse
    /// Name of the controller that it is attached to.
    public internal(set) var controller: String?

    public var bdevName: String { use.device.name }
}

/// What `nvme_namespace_create` asks for.
public struct NVMeNamespaceRequest: Sendable {
    public var nqn: String
    public var id: UInt32
    public var uuid: UUID
    public var nguid: [UInt8]
    public var eui64: [UInt8]?

    public init(nqn: String, id: UInt32, uuid: UUID, nguid: [UInt8], eui64: [UInt8]?) {
        self.nqn = nqn
        self.id = id
        self.uuid = uuid
        self.nguid = nguid
        self.eui64 = eui64
    }
}
