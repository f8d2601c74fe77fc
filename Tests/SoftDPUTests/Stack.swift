import Bdev
import Card
import Emulation
import Hardware
import Logging
import Memory
import Platform
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
        let buffer = lines
        let log = Logger(label: "test") { _ in buffer.handler }
        dpu = try SoftDPU(inventory, log: log)
        let core = (0..<256).first { Processors.isUsable($0) } ?? 0
        group = try ReactorGroup(cores: [core], options: Reactor.Options())
        // The tests' own manager is an operator too: a power cycle leaves it connected.
        manager = try await RemoteManager(try dpu.connect(), isOperator: true) { _ in }
        controllers = VirtioBlkControllers(manager: manager, group: group, log: log)
        self.nvme = NVMeSubsystems(manager: manager, group: group, log: log)
    }

    /// Another service on the same reactors.
    struct Service: Sendable {
        let manager: RemoteManager
        let controllers: VirtioBlkControllers
        let nvme: NVMeSubsystems

        func create(
            _ name: String, on vuid: String, _ device: BlockDevice?
        ) async throws -> VirtioBlkController {
            try await controllers.create(Stack.options(name, vuid, device), device: device)
        }
    }

    func service() async throws -> Service {
        let manager = try await RemoteManager(try dpu.connect()) { _ in }
        let buffer = lines
        let log = Logger(label: "service") { _ in buffer.handler }
        return Service(
            manager: manager,
            controllers: VirtioBlkControllers(manager: manager, group: group, log: log),
            nvme: NVMeSubsystems(manager: manager, group: group, log: log))
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

    func stop() async {
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
    try await withCheckedThrowingContinuation { continuation in
        do {
            _ = try Thread(name: "guest") {
                continuation.resume(with: Swift.Result { try body() })
            }
        } catch { continuation.resume(throwing: error) }
    }
}
