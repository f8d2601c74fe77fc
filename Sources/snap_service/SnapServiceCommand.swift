internal import ArgumentParser
internal import Card
internal import ControlAPI
internal import Hardware
internal import JSONRPC
internal import Logging
internal import NVMe
internal import Platform
internal import Reactor
internal import SoftDPU

@main
struct SnapServiceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snap_service",
        abstract: "Serves emulated storage functions and answers SNAP's and SPDK's JSON-RPCs.",
        discussion: """
            Example: snap_service -m 0x3 -r /var/tmp/spdk.sock
            Then:    rpc/snap_rpc.py emulation_function_list
            """)

    @Option(name: [.customShort("r"), .customLong("rpc-socket")], help: "RPC socket.")
    var rpcSocket = "/var/tmp/spdk.sock"

    @Option(
        name: [.customShort("m"), .customLong("cpumask")],
        help: "Cores of the reactors: a mask (0x3) or a list ([0,1]).")
    var cpuMask = "0x1"

    @Option(
        help: ArgumentHelp(
            "Control socket of a software DPU (softdpu run), or ADDRESS:PORT of one on another"
                + " machine (its --listen), with --data-path rdma and --dpu-secret-file; without it"
                + " one is embedded."))
    var dpu: String?

    @Option(
        name: .customLong("dpu-secret-file"),
        help: "What a software DPU on another machine has as its --secret-file.")
    var secretFile: String?

    @Option(help: "Directory of the embedded DPU's sockets; <rpc socket>.run when left out.")
    var run: String?

    @Option(
        help: ArgumentHelp(
            "Directory in which the configuration is kept, to come back after a crash or a restart."
                + " <rpc socket>.state when left out with --dpu; without --dpu, where functions end"
                + " with the process, none; --state '' keeps none."))
    var state: String?

    @Option(name: .customLong("virtio-blk-pfs"), help: "Virtio-blk PFs of the embedded DPU.")
    var virtioBlkFunctions = 1

    @Option(name: .customLong("virtio-blk-vfs"), help: "VFs of each of them.")
    var virtioBlkVFs = 0

    @Option(name: .customLong("nvme-pfs"), help: "NVMe PFs of the embedded DPU.")
    var nvmeFunctions = 1

    @Option(name: .customLong("nvme-vfs"), help: "VFs of each of them.")
    var nvmeVFs = 0

    @Option(
        name: .customLong("nvme-doorbells"),
        help: "trapped or mapped, of all NVMe functions; VUID=MODE, also repeated, of one.")
    var doorbells: [String] = []

    @Option(
        name: .customLong("rdma-device"),
        help: "RDMA device that gives each reactor its queue pair.")
    var rdmaDevice = "mlx5_0"

    @Option(
        name: .customLong("data-path"),
        help: ArgumentHelp(
            "How controllers reach host memory: mapped, or rdma, where commands, data and"
                + " completions move by RDMA only, over --rdma-device."))
    var dataPathName = DataPath.mapped.rawValue

    @Option(
        name: .customLong("rpc-tcp"),
        help: "Also answer RPCs on TCP, HOST:PORT. Whoever reaches it controls the service.")
    var rpcTCP: String?

    @Option(
        name: .customLong("function-memory-version"),
        help: ArgumentHelp(
            "Layout of NVMe function memory that a controller's reset leaves. Give the oldest that"
                + " a service of this software DPU speaks, until all speak a newer one."))
    var memoryVersion = MemoryVersions.newest

    @Flag(name: .customLong("wait-for-rpc"), help: "Wait for framework_start_init.")
    var waitForRPC = false

    @Option(name: .customLong("rpcs-allowed"), help: "Answer only these methods (a,b,c).")
    var rpcsAllowed: String?

    @Option(
        name: .customLong("rpc-log"),
        help: "Record of all calls and answers; SNAP_RPC_LOG_ENABLE=0 turns it off.")
    var rpcLog = HistoryOptions.defaultPath

    @Flag(name: .customLong("poll"), help: "Poll for ever instead of sleeping when idle.")
    var neverSleeps = false

    @Option(name: .customLong("poll-us"), help: "Microseconds of polling before sleep.")
    var patienceMicroseconds: UInt64 = 30

    func validate() throws {
        _ = try cores()
        _ = try tcpAddress()
        guard MemoryVersions.spoken.contains(memoryVersion) else {
            throw ValidationError(
                "--function-memory-version \(memoryVersion): this service speaks "
                    + "\(MemoryVersions.spoken.lowerBound) to \(MemoryVersions.newest)")
        }
        // A Unix socket's path has 107 bytes; `/host/<VUID>.sock` takes up to 39 of them.
        let runDirectory = run ?? rpcSocket + ".run"
        if dpu == nil, runDirectory.utf8.count > 68 {
            throw ValidationError(
                "host sockets in \(runDirectory) would have paths of more than 107 bytes; give a "
                    + "directory of at most 68 bytes with --run")
        }
        if let problem = card.impossibility {
            throw ValidationError("--virtio-blk-pfs, --nvme-pfs and their VFs: \(problem)")
        }
        _ = try inventory()
        _ = try place()
    }

    /// The card of the embedded software DPU.
    private var card: CardConfiguration {
        var card = CardConfiguration()
        card.virtioBlk.pfCount = virtioBlkFunctions
        card.virtioBlk.vfCount = virtioBlkVFs
        card.nvme.pfCount = nvmeFunctions
        card.nvme.vfCount = nvmeVFs
        return card
    }

    func run() async throws {
        let signals = try StopSignals()
        ProcessFacts.raiseDescriptorLimit()
        let thresholds = LogThresholds(components: ["service", "dpu"])
        LoggingSystem.bootstrap { LineLogHandler(label: $0, thresholds: thresholds) }
        let log = Logger(label: "service")
        do {
            let service = try await Service(options(), thresholds: thresholds, log: log)
            try await service.run { await signals.first() }
        } catch {
            ProcessFacts.complain("snap_service: \(error)")
            throw ExitCode(1)
        }
    }

    private func inventory() throws -> Inventory {
        var inventory = Inventory(runDirectory: run ?? rpcSocket + ".run")
        inventory.card = card
        inventory.isEmbedded = true
        if try dataPath() == .rdma { inventory.rdmaDevice = rdmaDevice }
        if let bad = doorbells.first(where: { !inventory.takeDoorbells($0) }) {
            throw ValidationError(
                "--nvme-doorbells \(bad) is neither trapped, mapped nor VUID=MODE")
        }
        return inventory
    }

    private func options() throws -> Service.Options {
        var options = Service.Options(
            rpcSocketPath: rpcSocket, cores: try cores(), inventory: try inventory())
        options.dpu = try place()
        options.stateDirectory = state ?? (dpu == nil ? nil : rpcSocket + ".state")
        if options.stateDirectory?.isEmpty == true { options.stateDirectory = nil }
        options.memoryVersion = memoryVersion
        options.rpcTCP = try tcpAddress()
        options.rdmaDevice = rdmaDevice
        options.dataPath = try dataPath()
        options.waitsForRPC = waitForRPC
        options.allowedMethods = rpcsAllowed.map { Set($0.split(separator: ",").map(String.init)) }
        options.history.path = rpcLog
        options.reactor.neverSleeps = neverSleeps
        options.reactor.patienceNanoseconds = patienceMicroseconds * 1000
        return options
    }

    private func place() throws -> DPUPlace? {
        guard let dpu else { return nil }
        guard let (address, port) = DPUPlace.endpoint(dpu) else { return .socket(dpu) }
        guard let secretFile else {
            throw ValidationError("--dpu \(dpu) needs --dpu-secret-file FILE, as softdpu has it")
        }
        guard try dataPath() == .rdma else {
            throw ValidationError(
                "--dpu \(dpu): memory of another machine is reached by RDMA; add --data-path rdma")
        }
        return .network(address: address, port: port, try SharedSecret(path: secretFile))
    }

    private func dataPath() throws -> DataPath {
        guard let path = DataPath(rawValue: dataPathName) else {
            throw ValidationError("--data-path \(dataPathName) is neither mapped nor rdma")
        }
        return path
    }

    private func cores() throws -> [Int] {
        guard let mask = CoreMask(cpuMask) else {
            throw ValidationError(
                "-m \(cpuMask) is neither a mask such as 0x3 nor a list such as [0,1]")
        }
        for core in mask.cores where !Processors.isUsable(core) {
            let usable = (0..<1024).filter(Processors.isUsable).map(String.init)
            throw ValidationError(
                "-m \(cpuMask): core \(core) is not one that this process may use; it may use "
                    + usable.joined(separator: ","))
        }
        return mask.cores
    }

    private func tcpAddress() throws -> RPCServer.TCPAddress? {
        guard let rpcTCP else { return nil }
        guard let colon = rpcTCP.lastIndex(of: ":"),
            let port = UInt16(rpcTCP[rpcTCP.index(after: colon)...])
        else { throw ValidationError("--rpc-tcp \(rpcTCP) is not HOST:PORT") }
        return RPCServer.TCPAddress(host: String(rpcTCP[..<colon]), port: Int(port))
    }
}
