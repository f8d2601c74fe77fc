internal import Bdev
internal import ControlAPI
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Logging
internal import NVMe
internal import NVMeOF
internal import Platform
internal import RDMA
internal import Reactor
internal import SoftDPU

/// Why a service does not start.
struct StartRefusal: Error, CustomStringConvertible {
    let reason: String
    var description: String { reason }
}

/// One running service: hardware below, reactors and storage in the middle, the RPC server on top.
final class Service: ServiceFacts {
    struct Options: Sendable {
        var rpcSocketPath: String
        var rpcTCP: RPCServer.TCPAddress?
        var cores: [Int]
        var reactor = Reactor.Options()
        /// The software DPU; nil embeds one.
        var dpu: DPUPlace?
        var inventory: Inventory
        /// RDMA device whose queue pairs the reactors take.
        var rdmaDevice = "mlx5_0"
        var dataPath = DataPath.mapped
        static let directVariable = "SNAP_RDMA_ZCOPY_ENABLE"
        /// Remote targets reach host memory by RDMA.
        let isDirect = ProcessFacts.environment(directVariable) != "0"
        var waitsForRPC = false
        var allowedMethods: Set<String>?
        var history = HistoryOptions()
        /// Layout that an NVMe controller's reset leaves in its function's memory.
        var memoryVersion = MemoryVersions.newest
        /// Where the configuration is kept; nil keeps none.
        var stateDirectory: String?
    }

    let options: Options
    let log: Logger
    private let embedded: SoftDPU?
    let group: ReactorGroup
    private let registry: MethodRegistry
    private let history: RPCHistory?
    let context: StorageContext
    let recovery: Recovery?

    init(
        _ options: Options, thresholds: LogThresholds, log: Logger
    ) async throws {
        self.options = options
        self.log = log
        let device = try Self.rdmaDevice(options)
        group = try ReactorGroup(
            cores: options.cores, options: options.reactor, dataPath: options.dataPath)
        let connection: ControlConnection
        (connection, embedded) = try await Self.connect(options, log)
        // A device that is there says itself what it gives.
        let need =
            device == nil
            ? QueuePairNeed(device: options.rdmaDevice, count: options.cores.count) : nil
        let manager = try await RemoteManager(
            connection, service: options.rpcSocketPath, queuePairs: need,
            dataPath: options.dataPath, reconnectingTo: options.dpu, log: log
        ) { reason in
            log.error("event=dpu_link_ended reason=\"\(reason)\"")
        }
        if let device { try await group.openLinks(over: device, to: manager) }
        let notifications = NotificationRing()
        let bdevs = Self.bdevs(telling: notifications)
        let direct = options.isDirect ? DirectMemory { log.notice("\($0)") } : nil
        let controllers = VirtioBlkControllers(
            manager: manager, group: group, storage: direct, log: log)
        let nvme = NVMeSubsystems(
            manager: manager, group: group, memoryVersion: options.memoryVersion,
            storage: direct, log: log)
        context = StorageContext(
            bdevs: bdevs, manager: manager, controllers: controllers, nvme: nvme,
            associations: Self.associations(options), direct: direct, log: log)
        history = options.history.start(log)
        registry = MethodRegistry(allowed: options.allowedMethods, history: history)
        let record = try options.stateDirectory.map(Self.record)
        let recovery = record.map { [context, registry] in Recovery($0, context, registry) }
        self.recovery = recovery
        registry.registerFramework(self)
        registry.registerLog(thresholds)
        registry.registerNotifications(notifications)
        registry.registerBdevs(context, self)
        registry.registerSnap(context)
        registry.registerVirtioBlk(context)
        registry.registerNVMe(context)
        registry.registerRecovery(recovery, context)
    }

    private static func bdevs(telling notifications: NotificationRing) -> BdevRegistry {
        BdevRegistry { change in
            switch change {
            case .registered(let name): notifications.post(.bdevRegister, name)
            case .unregistered(let name): notifications.post(.bdevUnregister, name)
            case .resized(let name): notifications.post(.bdevResize, name)
            }
        }
    }

    /// To the software DPU, and the one that is embedded when it is.
    private static func connect(
        _ options: Options, _ log: Logger
    ) async throws -> (ControlConnection, SoftDPU?) {
        guard let place = options.dpu else {
            let dpu = try embed(options, log)
            log.notice(
                "event=embedded_dpu note=\"functions and malloc bdevs end with this process\"")
            return (ControlConnection(try dpu.connect()), dpu)
        }
        if case .network = place {
            log.notice("event=remote_dpu note=\"malloc bdevs end with this process\"")
        }
        return (try await place.connect(), nil)
    }

    /// Beside the control socket, or, where the DPU is on another machine, beside the RPC socket:
    /// all services of one software DPU on this machine have it.
    private static func associations(_ options: Options) -> String? {
        let path: String
        switch options.dpu {
        case .socket(let socket): path = socket
        case .network: path = options.rpcSocketPath
        case nil: return nil
        }
        let end = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        return (end.map { String(path[...$0]) } ?? "./") + "nvmeof"
    }

    /// The device of the RDMA data path, with a queue pair for each reactor to give; nil for the
    /// mapped one.
    private static func rdmaDevice(_ options: Options) throws -> VerbsDevice? {
        guard options.dataPath == .rdma else { return nil }
        do throws(RDMAError) {
            let device = try VerbsDevice(options.rdmaDevice)
            let grant = try device.grant(ofQueuePairs: options.cores.count)
            if let refusal = grant.refusal { throw refusal }
            return device
        } catch {
            throw StartRefusal(
                reason: "--data-path rdma: \(error); name a device with --rdma-device, or start "
                    + "with --data-path mapped")
        }
    }

    private static func record(in directory: String) throws -> ConfigurationRecord {
        do throws(SystemError) {
            return try ConfigurationRecord(path: directory)
        } catch {
            throw StartRefusal(
                reason: error.code == ErrorNumber.again
                    ? "another service keeps its configuration in \(directory); choose another "
                        + "directory with --state"
                    : "configuration directory \(directory): \(error); choose another with --state"
            )
        }
    }

    /// A software DPU of our own. Its run directory lies beside the RPC socket, so a second service
    /// on the same socket is told here.
    private static func embed(_ options: Options, _ log: Logger) throws -> SoftDPU {
        do throws(HardwareError) {
            let dpu = try SoftDPU(options.inventory, log: log)
            // For `softdpu host`, which acts on an embedded DPU as on any other.
            try dpu.listen()
            return dpu
        } catch {
            if error.code == ErrorNumber.again {
                throw RPCServerError.inUse(path: options.rpcSocketPath)
            }
            throw RPCServerError.listen(
                address: options.inventory.runDirectory,
                reason: "\(error); choose another directory with -r or --run")
        }
    }

    /// Serves until `finished` returns, then ends in order.
    func run(until finished: () async -> Void) async throws {
        let registry = registry
        let server = try await RPCServer.start(
            unixPath: options.rpcSocketPath, tcp: options.rpcTCP
        ) { request throws(RPCError) in try await registry.dispatch(request) }
        if !options.waitsForRPC {
            try await registry.initialize { try await self.initializeFramework() }
        }
        if let address = options.rpcTCP, !address.isLoopback {
            log.warning(
                "event=rpc_exposed host=\(address.host) port=\(address.port) authentication=none")
        }
        log.notice("event=ready rpc=\(options.rpcSocketPath)")
        await finished()
        log.notice("event=stopping")
        await server.close()
        await context.nvme.closeAll()
        await context.controllers.closeAll()
        await context.discoveries.closeAll()
        await context.remotes.closeAll()
        group.stop()
        embedded?.stop()
        await history?.close()
    }
}
