import Bdev
import ControlAPI
import Emulation
import Hardware
import JSONRPC
import Logging
import Platform
import Reactor
import Synchronization

/// Hardware without functions that keeps memory files.
final class TestManager: EmulationManager {
    let name = "mlx5_0"
    let isVolatile = true
    private let files = Mutex<[String: SharedDescriptor]>([:])

    var fileNames: [String] { files.withLock { $0.keys.sorted() } }

    func functions() async throws(HardwareError) -> [FunctionListing] { [] }

    func open(
        vuid: String, offer: VirtioOffer
    ) async throws(HardwareError) -> any VirtioFunctionPort {
        throw HardwareError(ErrorNumber.noDevice, "function \(vuid) does not exist")
    }

    func memoryFile(
        _ name: String, byteCount: UInt64
    ) async throws(HardwareError) -> SharedDescriptor {
        if let file = files.withLock({ $0[name] }) { return file }
        do {
            let file = SharedDescriptor(try MemoryFile.create(name: name, byteCount: byteCount))
            files.withLock { $0[name] = file }
            return file
        } catch { throw HardwareError(error.code, "\(error)") }
    }

    func deleteMemoryFile(_ name: String) async throws(HardwareError) {
        files.withLock { $0[name] = nil }
    }
}

/// A service with the bdev methods, called by text.
struct StorageService {
    let manager = TestManager()
    let bdevs = BdevRegistry()
    let context: StorageContext
    private let service: TestService

    init(isInitialized: Bool = true) async throws {
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let group = try ReactorGroup(cores: [], options: Reactor.Options())
        context = StorageContext(
            bdevs: bdevs, manager: manager,
            controllers: VirtioBlkControllers(manager: manager, group: group, log: log), log: log)
        service = try await TestService(isInitialized: isInitialized)
        service.registry.registerBdevs(context, service.facts)
        service.registry.registerSnap(context)
    }

    func call(_ method: String, _ params: String? = nil) async throws -> String {
        try await service.call(method, params)
    }

    func value(_ method: String, _ params: String? = nil) async throws -> JSONValue {
        try JSONValue.parse(try await call(method, params), limits: .answer)
    }

    /// The saved configuration of the bdevs as one line.
    func saved() async -> String {
        let calls = await context.configuration(of: "bdev") ?? []
        return String(decoding: JSONValue.array(calls).encoded(), as: UTF8.self)
    }

    func initialize() async throws { try await service.registry.initialize {} }
}
