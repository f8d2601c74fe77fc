public import Bdev
public import Emulation
public import Hardware
public import JSONRPC
public import Logging
public import NVMeOF
internal import Platform

/// What the storage methods work on.
public struct StorageContext: Sendable {
    public let bdevs: BdevRegistry
    public let manager: any EmulationManager
    public let controllers: VirtioBlkControllers
    public let nvme: NVMeSubsystems
    public let remotes: RemoteControllers
    public let discoveries: DiscoveryServices
    let remoteDefaults = NVMeOFDefaults()
    let sockets = SocketSettings()
    let log: Logger
    /// How long `wait_for_done` holds its answer back.
    public var hotplugLimit = Duration.seconds(10)
    let registrations = BdevRegistrations()
    let defaults = FunctionDefaults()
    let creations = BdevCreations()
    let names = BdevNames()
    let examination = BdevExamination()
    let sampler = QueueDepthSampler()

    public init(
        bdevs: BdevRegistry, manager: any EmulationManager, controllers: VirtioBlkControllers,
        nvme: NVMeSubsystems, associations: String? = nil, direct: DirectMemory? = nil,
        log: Logger
    ) {
        self.bdevs = bdevs
        self.manager = manager
        self.controllers = controllers
        self.nvme = nvme
        remotes = RemoteControllers(
            bdevs: bdevs, reactorCount: controllers.reactorCount, associations: associations,
            direct: direct
        ) { log.notice("\($0)") }
        discoveries = DiscoveryServices(remotes) { log.notice("\($0)") }
        self.log = log
    }
}

extension ControllerError: AnswerableError {
    public var answer: RPCError { .errno(code, message: reason) }
}

extension HardwareError: AnswerableError {
    public var answer: RPCError { .errno(code, message: reason) }
}

extension BdevError: AnswerableError {
    /// The text is SPDK's, byte for byte: its clients compare it.
    public var answer: RPCError { .errno(code) }
}

extension StorageContext {
    /// Function of the controller of a name, of one kind.
    func identity(
        ofController name: String, _ kind: FunctionIdentity.Kind
    ) async throws(ControllerError) -> FunctionIdentity {
        switch kind {
        case .virtioBlk: try await controllers.find(name).identity
        case .nvme: try await nvme.find(name).identity
        }
    }

    /// Function of the controller of a name, whichever kind it is.
    func identity(ofController name: String) async throws(ControllerError) -> FunctionIdentity {
        if let found = try? await nvme.find(name) { return found.identity }
        return try await controllers.find(name).identity
    }
}
