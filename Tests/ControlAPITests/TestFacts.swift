import ControlAPI
import JSONRPC
import Synchronization

/// A small service: one reactor, two threads, a bdev subsystem with one call to save.
final class TestFacts: ServiceFacts {
    let tickRate: UInt64 = 1_000_000_000
    let pools = Mutex<BufferPoolOptions?>(nil)
    let initialization: @Sendable () async throws -> Void

    init(initialization: @escaping @Sendable () async throws -> Void = {}) {
        self.initialization = initialization
    }

    func initializeFramework() async throws { try await initialization() }

    func subsystems() async -> [SubsystemFacts] {
        [
            SubsystemFacts(name: "iobuf", dependencies: []),
            SubsystemFacts(name: "bdev", dependencies: ["iobuf"]),
        ]
    }

    func configuration(of subsystem: String) async throws -> [JSONValue]? {
        subsystem == "bdev" ? [["method": "bdev_wait_for_examine"]] : nil
    }

    func reactors() async -> [ReactorFacts] {
        [ReactorFacts(core: 5, threadID: 99, busyTicks: 7, idleTicks: 3)]
    }

    func threads() async -> [ThreadFacts] {
        var thread = ThreadFacts(name: "app", id: 1, core: 5, busyTicks: 7, idleTicks: 3)
        thread.pollers = [
            PollerFacts(name: "p", id: 4, schedule: .active, runCount: 2, busyCount: 1),
            PollerFacts(
                name: "t", id: 5, schedule: .timed(periodTicks: 9), runCount: 1, busyCount: 0),
        ]
        thread.channels = [ChannelFacts(name: "Malloc0", referenceCount: 2)]
        return [thread]
    }

    func bufferPools() async -> [BufferPoolFacts] {
        let counts = BufferPoolFacts.Counts(cache: 1, main: 2, retry: 0)
        return [BufferPoolFacts(module: "bdev", small: counts, large: counts)]
    }

    func setBufferPools(_ options: BufferPoolOptions) async throws {
        pools.withLock { $0 = options }
    }

    func settings() async -> [SettingFacts] {
        [SettingFacts(name: "SNAP_RPC_LOG_ENABLE", value: "0", defaultValue: "1")]
    }
}

/// A registry with the framework's methods and a way to call them by text.
struct TestService {
    let facts: TestFacts
    let registry: MethodRegistry
    let thresholds = LogThresholds(components: ["bdev", "bdev_aio", "nvme"])
    let ring = NotificationRing()

    init(
        _ facts: TestFacts = TestFacts(), allowed: Set<String>? = nil,
        history: RPCHistory? = nil, isInitialized: Bool = true
    ) async throws {
        self.facts = facts
        registry = MethodRegistry(allowed: allowed, history: history)
        registry.registerFramework(facts)
        registry.registerLog(thresholds)
        registry.registerNotifications(ring)
        if isInitialized { try await registry.initialize {} }
    }

    /// The result as text, or the error as `code message`.
    func call(_ method: String, _ params: String? = nil) async throws -> String {
        let value = try params.map { try JSONValue.parse($0) }
        let request = RPCRequest(method: method, params: value, id: 1)
        do throws(RPCError) {
            return String(decoding: try await registry.dispatch(request).encoded(), as: UTF8.self)
        } catch {
            return "\(error.code) \(error.message)"
        }
    }
}
