public import Platform
internal import Synchronization

/// How long a delay disk holds requests back, in microseconds.
public struct DelayLatencies: Equatable, Sendable {
    public var averageRead: UInt64
    /// What one read in a hundred takes.
    public var slowRead: UInt64
    public var averageWrite: UInt64
    public var slowWrite: UInt64

    /// EINVAL when a slow latency is below its average.
    public init(
        averageRead: UInt64, slowRead: UInt64, averageWrite: UInt64, slowWrite: UInt64
    ) throws(BdevError) {
        guard averageRead <= slowRead, averageWrite <= slowWrite else {
            throw .invalid("a p99 latency is not below the average latency")
        }
        self.averageRead = averageRead
        self.slowRead = slowRead
        self.averageWrite = averageWrite
        self.slowWrite = slowWrite
    }
}

/// Passes requests on to its base at once and holds their completions back.
public final class DelayBackend: Backend {
    public enum Latency: CaseIterable, Sendable {
        case averageRead
        case slowRead
        case averageWrite
        case slowWrite
    }

    public let productName = "delay"
    public let base: BlockDevice
    /// As created; `update` does not change it.
    public let created: DelayLatencies
    private let averageRead: Atomic<UInt64>
    private let slowRead: Atomic<UInt64>
    private let averageWrite: Atomic<UInt64>
    private let slowWrite: Atomic<UInt64>

    public init(_ base: BlockDevice, _ latencies: DelayLatencies) {
        self.base = base
        created = latencies
        averageRead = Atomic(DelayBackend.ticks(latencies.averageRead))
        slowRead = Atomic(DelayBackend.ticks(latencies.slowRead))
        averageWrite = Atomic(DelayBackend.ticks(latencies.averageWrite))
        slowWrite = Atomic(DelayBackend.ticks(latencies.slowWrite))
    }

    public var geometry: BlockGeometry { base.geometry }
    public var isReadOnly: Bool { base.backend.isReadOnly }
    public func supports(_ operation: BlockOperation) -> Bool { base.backend.supports(operation) }

    /// Changes one latency for the requests that end from now on.
    public func update(_ latency: Latency, microseconds: UInt64) {
        let ticks = DelayBackend.ticks(microseconds)
        switch latency {
        case .averageRead: averageRead.store(ticks, ordering: .relaxed)
        case .slowRead: slowRead.store(ticks, ordering: .relaxed)
        case .averageWrite: averageWrite.store(ticks, ordering: .relaxed)
        case .slowWrite: slowWrite.store(ticks, ordering: .relaxed)
        }
    }

    var averageReadTicks: UInt64 { averageRead.load(ordering: .relaxed) }
    var slowReadTicks: UInt64 { slowRead.load(ordering: .relaxed) }
    var averageWriteTicks: UInt64 { averageWrite.load(ordering: .relaxed) }
    var slowWriteTicks: UInt64 { slowWrite.load(ordering: .relaxed) }

    /// An hour is the longest.
    private static func ticks(_ microseconds: UInt64) -> UInt64 {
        Ticks.from(nanoseconds: min(microseconds, 3_600_000_000) * 1000)
    }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        DelayChannel(self, try base.openChannel(depth: depth, at: site))
    }

    public func hold(for holder: UInt64) throws(SystemError) { try base.backend.hold(for: holder) }
    public func isHeld(by holder: UInt64) throws(SystemError) -> Bool {
        try base.backend.isHeld(by: holder)
    }
}
