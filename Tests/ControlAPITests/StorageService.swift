import Bdev
import ControlAPI
import Emulation
import JSONRPC
import Logging
import Platform
import Reactor

/// A service with all storage methods, called by text.
struct StorageService {
    let manager: TestManager
    let bdevs = BdevRegistry()
    let context: StorageContext
    private let service: TestService
    /// Of a service with a record.
    private var recovery: Recovery?

    init(
        isInitialized: Bool = true, hotplugLimit: Duration = .seconds(10),
        manager: TestManager = TestManager(), record: ConfigurationRecord? = nil,
        reactorCount: Int = 0
    ) async throws {
        self.manager = manager
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let group = try ReactorGroup(
            cores: Array((0..<256).filter(Processors.isUsable).prefix(reactorCount)),
            options: Reactor.Options())
        var context = StorageContext(
            bdevs: bdevs, manager: manager,
            controllers: VirtioBlkControllers(manager: manager, group: group, log: log),
            nvme: NVMeSubsystems(manager: manager, group: group, log: log), log: log)
        context.hotplugLimit = hotplugLimit
        self.context = context
        service = try await TestService(isInitialized: isInitialized)
        service.registry.registerBdevs(context, service.facts)
        service.registry.registerSnap(context)
        service.registry.registerVirtioBlk(context)
        service.registry.registerNVMe(context)
        recovery = record.map { [service] in Recovery($0, context, service.registry) }
        service.registry.registerRecovery(recovery, context)
        await recovery?.run()
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
