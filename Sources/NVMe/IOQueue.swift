public import Bdev
public import Memory
public import Platform

/// A completion queue and the submission queues that complete into it, on one home reactor.
public struct IOQueue: ~Copyable {
    /// Depth of the channels that are attached: tags are below it.
    public static let channelDepth = NVMeMemory.inFlightLimit

    public enum Phase: Equatable, Sendable {
        case running
        case draining
        case discarding
        case failed(QueueFault)
    }

    public let counters: QueueCounters
    public internal(set) var phase = Phase.running

    /// - Parameter journal: of the function; nil when nobody keeps one.
    public init(
        _ setup: CompletionQueueSetup, memory: HostMemory, journal: NVMeMemory,
        interrupt: any InterruptLine, shape: QueueShape, counters: QueueCounters
    ) throws(QueueFault) {
        self.counters = counters
    }

    public var id: UInt16 { 0 }
    /// Commands taken and not yet answered.
    public var outstanding: Int { 0 }
    public var isDrained: Bool { outstanding == 0 && phase != .running }
    /// Whether a ring or a doorbell is not in the host's memory just now.
    public var isParked: Bool { false }
    public var wakeTime: Ticks? { nil }

    // submission queues: add; or remove, wait for isDrained(submission:), release
    public mutating func add(_ setup: SubmissionQueueSetup) throws(QueueFault) {}
    public mutating func remove(submission id: UInt16) {}
    public func isDrained(submission id: UInt16) -> Bool { true }
    public mutating func release(submission id: UInt16) {}
    public var submissionCount: Int { 0 }

    // namespaces: attach; update; or detach, wait for isDrained(namespace:), release
    public mutating func attach(_ namespace: NamespaceView, channel: BlockChannel) {}
    public mutating func update(_ namespace: NamespaceView) {}
    public mutating func detach(namespace id: UInt32) {}
    public func isDrained(namespace id: UInt32) -> Bool { true }
    public mutating func release(namespace id: UInt32) {}

    public mutating func poll(now: Ticks) -> Int { 0 }

    public mutating func drain() {}
    public mutating func resume() {}
    public mutating func discard() {}
    public mutating func abandonHeld() {}
    public mutating func exchange(memory: HostMemory) {}
    public mutating func exchange(head: Doorbell) {}
    public mutating func exchange(tail: Doorbell, of submission: UInt16) {}
    public mutating func abort(submission: UInt16, command: UInt16) -> Bool { false }
    public mutating func enableDoorbellEvents() -> Bool { true }
    public mutating func disableDoorbellEvents() {}
    public mutating func interruptAnyway() {}
}
