public import JSONRPC

/// What the framework methods need to know of the service. The service implements it.
public protocol ServiceFacts: Sendable {
    /// Ticks a second of every tick count below.
    var tickRate: UInt64 { get }

    /// Starts the subsystems (framework_start_init).
    func initializeFramework() async throws
    /// In the order of their initialization.
    func subsystems() async -> [SubsystemFacts]
    /// Calls that rebuild the state of a subsystem: `{"method", "params"}` objects. Nil when there
    /// is nothing to save.
    func configuration(of subsystem: String) async throws -> [JSONValue]?
    func reactors() async -> [ReactorFacts]
    func threads() async -> [ThreadFacts]
    func bufferPools() async -> [BufferPoolFacts]
    func setBufferPools(_ options: BufferPoolOptions) async throws
    /// The settings of the service (snap_global_param_list).
    func settings() async -> [SettingFacts]
}

public struct SubsystemFacts: Sendable {
    public var name: String
    public var dependencies: [String]

    public init(name: String, dependencies: [String]) {
        self.name = name
        self.dependencies = dependencies
    }
}

/// One reactor: the thread of a core.
public struct ReactorFacts: Sendable {
    public var core: Int
    public var numaNode = 0
    /// The kernel's id of the thread.
    public var threadID: Int
    public var busyTicks: UInt64
    public var idleTicks: UInt64
    public var isInInterruptMode = false
    /// Processor time in kernel and in user mode, in clock ticks of /proc/<pid>/stat.
    public var systemTime: UInt64 = 0
    public var userTime: UInt64 = 0

    public init(core: Int, threadID: Int, busyTicks: UInt64, idleTicks: UInt64) {
        self.core = core
        self.threadID = threadID
        self.busyTicks = busyTicks
        self.idleTicks = idleTicks
    }
}

/// One thread in SPDK's sense: what runs pollers on a core.
public struct ThreadFacts: Sendable {
    public var name: String
    public var id: UInt64
    public var core: Int
    public var busyTicks: UInt64
    public var idleTicks: UInt64
    public var pollers: [PollerFacts] = []
    public var channels: [ChannelFacts] = []

    public init(name: String, id: UInt64, core: Int, busyTicks: UInt64, idleTicks: UInt64) {
        self.name = name
        self.id = id
        self.core = core
        self.busyTicks = busyTicks
        self.idleTicks = idleTicks
    }
}

public struct PollerFacts: Sendable {
    public enum Schedule: Sendable {
        case active
        case timed(periodTicks: UInt64)
        case paused
    }

    public var name: String
    public var id: UInt64
    public var schedule: Schedule
    public var runCount: UInt64
    public var busyCount: UInt64

    public init(
        name: String, id: UInt64, schedule: Schedule, runCount: UInt64, busyCount: UInt64
    ) {
        self.name = name
        self.id = id
        self.schedule = schedule
        self.runCount = runCount
        self.busyCount = busyCount
    }
}

public struct ChannelFacts: Sendable {
    public var name: String
    public var referenceCount: Int

    public init(name: String, referenceCount: Int) {
        self.name = name
        self.referenceCount = referenceCount
    }
}

/// How often one module took buffers from its cache, from the pool, and found none.
public struct BufferPoolFacts: Sendable {
    public struct Counts: Sendable {
        public var cache: UInt64
        public var main: UInt64
        public var retry: UInt64

        public init(cache: UInt64, main: UInt64, retry: UInt64) {
            self.cache = cache
            self.main = main
            self.retry = retry
        }
    }

    public var module: String
    public var small: Counts
    public var large: Counts

    public init(module: String, small: Counts, large: Counts) {
        self.module = module
        self.small = small
        self.large = large
    }
}

/// The parameters of iobuf_set_options.
public struct BufferPoolOptions: Sendable, Equatable {
    public let smallCount: UInt64
    public let largeCount: UInt64
    public let smallByteCount: UInt64
    public let largeByteCount: UInt64
    public let isPerNUMANode: Bool
}

/// One setting, taken from the environment at start-up.
public struct SettingFacts: Sendable {
    public var name: String
    public var value: String
    public var defaultValue: String

    public init(name: String, value: String, defaultValue: String) {
        self.name = name
        self.value = value
        self.defaultValue = defaultValue
    }
}
