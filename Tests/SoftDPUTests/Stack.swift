import Bdev
import Card
import Emulation
import Hardware
import Logging
import Memory
import Platform
import RDMA
import Reactor
import SoftDPU
import Synchronization

/// What a service is made of, without its RPC server: software DPU, reactor, controllers.
final class Stack: Sendable {
    static let byteCount = 1 << 20

    let dpu: SoftDPU
    let group: ReactorGroup
    let manager: RemoteManager
    let controllers: VirtioBlkControllers
    let nvme: NVMeSubsystems
    let lines = LineBuffer()
    private static let graveyard = Mutex<[Service]>([])
    private let services = Mutex<[Service]>([])
    private let directory: String

    /// NVMe functions, besides those of virtio-blk.
    struct NVMe {
        var functionCount = 0
        var vfCount = 0
        var doorbells = DoorbellMode.trapped
    }

    init(
        functionCount: Int = 2, vfCount: Int = 0, nvme: NVMe = NVMe(), isEmbedded: Bool = true
    ) async throws {
        directory = "/var/tmp/softsnap-dpu-\(ProcessFacts.identifier)-\(UUID.random())"
        var inventory = Inventory(runDirectory: directory)
        inventory.card.virtioBlk.pfCount = functionCount
        inventory.card.virtioBlk.vfCount = vfCount
        inventory.card.nvme.pfCount = nvme.functionCount
        inventory.card.nvme.vfCount = nvme.vfCount
        inventory.doorbells = nvme.doorbells
        inventory.isEmbedded = isEmbedded
        inventory.rdmaDevice = PathUnderTest.device
        let buffer = lines
        let log = Logger(label: "test") { _ in buffer.handler }
        dpu = try SoftDPU(inventory, log: log)
        group = try PathUnderTest.reactors()
        // The tests' own manager is an operator too: a power cycle leaves it connected.
        manager = try await RemoteManager(
            ControlConnection(try dpu.connect()), isOperator: true, dataPath: PathUnderTest.path
        ) { _ in }
        try await PathUnderTest.open(group, to: manager)
        controllers = VirtioBlkControllers(manager: manager, group: group, log: log)
        self.nvme = NVMeSubsystems(manager: manager, group: group, log: log)
    }

    /// Another service, kept until the stack stops.
    final class Service: Sendable {
        let manager: RemoteManager
        let controllers: VirtioBlkControllers
        let nvme: NVMeSubsystems
        let group: ReactorGroup
        let socket: SharedDescriptor
        private let hasOwnGroup: Bool
        private let isDead = Atomic<Bool>(false)

        init(
            manager: RemoteManager, group: ReactorGroup, hasOwnGroup: Bool,
            socket: SharedDescriptor, log: Logger
        ) {
            self.manager = manager
            self.hasOwnGroup = hasOwnGroup
            controllers = VirtioBlkControllers(manager: manager, group: group, log: log)
            nvme = NVMeSubsystems(manager: manager, group: group, log: log)
            self.group = group
            self.socket = socket
        }

        func create(
            _ name: String, on vuid: String, _ device: BlockDevice?,
            patience: Duration? = nil
        ) async throws -> VirtioBlkController {
            var options = Stack.options(name, vuid, device)
            options.listenerPatience = patience
            options.startsSuspended = patience != nil
            return try await controllers.create(options, device: device)
        }

        func stop() async {
            if isDead.load(ordering: .relaxed) { return }
            await controllers.closeAll()
            await nvme.closeAll()
            if hasOwnGroup { group.stop() }
        }

        /// Ends a mortal service where it stands: nothing it has under way is done, and the
        /// software DPU finds its link cut. Nothing may be asked of it afterwards.
        func kill() async throws {
            // What it has under way must not be torn down in order either.
            Stack.graveyard.withLock { $0.append(self) }
            isDead.store(true, ordering: .relaxed)
            try await onThread { [group] in group.stop() }
            UnixSocket.shutDown(socket.number)
        }
    }

    /// Another service.
    /// - Parameter isMortal: on a reactor of its own, so that `kill` can end it as death would.
    func service(isMortal: Bool = false) async throws -> Service {
        // A queue pair reaches the leases of one service.
        let hasOwnGroup = isMortal || !PathUnderTest.isMapped
        let group = hasOwnGroup ? try PathUnderTest.reactors() : group
        let socket = try dpu.connect()
        let manager = try await RemoteManager(
            ControlConnection(socket), dataPath: PathUnderTest.path
        ) { _ in }
        if hasOwnGroup { try await PathUnderTest.open(group, to: manager) }
        let buffer = lines
        let log = Logger(label: "service") { _ in buffer.handler }
        let service = Service(
            manager: manager, group: group, hasOwnGroup: hasOwnGroup, socket: socket, log: log)
        services.withLock { $0.append(service) }
        return service
    }

    static func vuid(_ index: Int) -> String { "SOFTSNAP0001VBLKS0D0F\(index)" }

    func ramDisk(byteCount: Int = Stack.byteCount) throws -> BlockDevice {
        try Self.ramDisk(
            MemoryFile.create(name: "disk", byteCount: UInt64(byteCount)), byteCount: byteCount)
    }

    static func ramDisk(
        _ file: borrowing FileDescriptor, byteCount: Int = Stack.byteCount
    ) throws -> BlockDevice {
        let mapping = try Mapping(file.number, byteCount: byteCount)
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: UInt64(byteCount / 512))
        return BlockDevice(name: "disk", backend: MallocBackend(mapping, geometry))
    }

    func create(_ index: Int, _ device: BlockDevice?) async throws -> VirtioBlkController {
        try await create("c\(index)", on: Self.vuid(index), device)
    }

    func create(
        _ name: String, on vuid: String, _ device: BlockDevice?
    ) async throws -> VirtioBlkController {
        try await controllers.create(Self.options(name, vuid, device), device: device)
    }

    static func options(
        _ name: String, _ vuid: String, _ device: BlockDevice?
    ) -> VirtioBlkOptions {
        VirtioBlkOptions(
            name: name, vuid: vuid, bdev: device?.name, queueCount: 2, queueSize: 64,
            sizeMax: 65536, segMax: 16, serial: name, isInOrder: false, hasAdminQueue: false,
            isIndirect: true, isReadOnly: false, isLocalOptimized: false, startsSuspended: false)
    }

    func listing(_ vuid: String) async throws -> FunctionListing? {
        try await manager.functions().first { $0.identity.vuid == vuid }
    }

    /// Waits until no controller has the function.
    func becomesFree(_ vuid: String) async throws -> Bool {
        for _ in 0..<1000 {
            if try await listing(vuid)?.controller == nil { return true }
            try await Task.sleep(for: .milliseconds(2))
        }
        return false
    }

    func stop() async {
        // The last first: who stands by is not to take over what ends.
        for service in services.withLock({ $0.reversed() }) { await service.stop() }
        await controllers.closeAll()
        await nvme.closeAll()
        group.stop()
        dpu.stop()
        for part in ["/host", "/control", ""] { try? FileSystem.remove(directory + part) }
    }

    /// Waits until a line of the log contains `text`.
    func hasLogged(_ text: String) async -> Bool {
        for _ in 0..<500 {
            if lines.all.contains(where: { $0.contains(text) }) { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}

/// The log of a stack.
final class LineBuffer: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }
    var handler: any LogHandler { Handler(buffer: self) }

    private struct Handler: LogHandler {
        let buffer: LineBuffer
        var metadata = Logger.Metadata()
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            buffer.lines.withLock { $0.append("\(event.message)") }
        }
    }
}

/// Runs blocking work on a thread of its own: the tests' own threads are few.
func onThread<Result: Sendable>(
    _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
    // The order between a continuation's resumption and what follows is kept by the Swift runtime,
    // where ThreadSanitizer does not see it when the thread was faster than the wait.
    let end = End()
    let result: Swift.Result<Result, any Error> = try await withCheckedThrowingContinuation {
        continuation in
        do {
            _ = try Thread(name: "guest") {
                let result = Swift.Result { try body() }
                end.reached.store(true, ordering: .releasing)
                continuation.resume(returning: result)
            }
        } catch { continuation.resume(throwing: error) }
    }
    _ = end.reached.load(ordering: .acquiring)
    return try result.get()
}

private final class End: Sendable {
    let reached = Atomic(false)
}

/// Returns when `backend` holds the write that it was told to hold; ten seconds at most.
func waitUntilHit(_ backend: ErrorBackend) {
    for _ in 0..<10_000 where backend.remaining(.write) > 0 { Clock.sleep(nanoseconds: 1_000_000) }
}
