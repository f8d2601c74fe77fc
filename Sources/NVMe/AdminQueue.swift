public import Memory
public import Platform

/// The admin queue: takes commands, hands them out, posts what has become of them.
public struct AdminQueue: ~Copyable {
    public let counters: QueueCounters
    public internal(set) var phase = IOQueue.Phase.running

    public init(
        submission: SubmissionQueueSetup, completion: CompletionQueueSetup, memory: HostMemory,
        journal: NVMeMemory, interrupt: any InterruptLine, counters: QueueCounters
    ) throws(QueueFault) {
        self.counters = counters
    }

    public var outstanding: Int { 0 }
    public var isDrained: Bool { outstanding == 0 && phase != .running }
    public var isParked: Bool { false }

    /// - Returns: commands taken; `next` hands them out.
    public mutating func poll(now: Ticks) -> Int { 0 }
    public mutating func next() -> AdminCommand? { nil }
    public mutating func complete(
        _ slot: Int, _ status: NVMeStatus, result: UInt32 = 0, data: [UInt8]? = nil
    ) {}
    public func read(_ slot: Int, byteCount: Int) throws(NVMeStatus) -> [UInt8] { [] }

    public mutating func drain() {}
    public mutating func resume() {}
    public mutating func discard() {}
    public mutating func exchange(memory: HostMemory) {}
    public mutating func exchange(tail: Doorbell, head: Doorbell) {}
    public mutating func enableDoorbellEvents() -> Bool { true }
    public mutating func disableDoorbellEvents() {}
    public mutating func interruptAnyway() {}
}
