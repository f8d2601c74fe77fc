public import Bdev
public import Emulation
public import Hardware
public import JSONRPC
public import Logging
internal import Platform

/// What the storage methods work on.
public struct StorageContext: Sendable {
    public let bdevs: BdevRegistry
    public let manager: any EmulationManager
    public let controllers: VirtioBlkControllers
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
        log: Logger
    ) {
        self.bdevs = bdevs
        self.manager = manager
        self.controllers = controllers
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
