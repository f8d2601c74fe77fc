import Bdev
import Memory
import NVMe
import Platform
import Seeds

/// An I/O queue of either data path, as its simulated controller sees it.
protocol SimulatedModel: AnyObject {
    var id: UInt16 { get }
    var phase: IOQueue.Phase { get }
    var outstanding: Int { get }
    var wakeTime: Ticks? { get }
    var isDrained: Bool { get }
    /// Whether host memory can no longer be reached.
    var isLost: Bool { get }
    /// Whether doorbells that were moved or cleared stand where they belong.
    var isSettled: Bool { get }
    /// Nil: its standing says it.
    var isAtRest: Bool? { get }

    func poll(now: Ticks) -> Int
    /// What rings a doorbell, or a look at mapped ones.
    func kick(isMapped: Bool)
    /// Nothing calls it.
    func rest()
    func enableDoorbellEvents() -> Bool
    func disableDoorbellEvents()
    func interruptAnyway()
    func drain()
    func resume()
    func discard()
    func close()
    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws
    func remove(submission: UInt16)
    func isDrained(submission: UInt16) -> Bool
    func release(submission: UInt16)
    func abort(submission: UInt16, command: UInt16) -> Bool
    func isUnderWay(submission: UInt16, command: UInt16) -> Bool
    func attach(_ view: NamespaceView, channel: BlockChannel)
    func update(_ view: NamespaceView)
    func detach(namespace: UInt32)
    func isDrained(namespace: UInt32) -> Bool
    func release(namespace: UInt32)
    func exchange(memory: HostMemory)
    func exchange(head: Doorbell)
    func exchange(tail: Doorbell, of: UInt16)
}

final class MappedModel: SimulatedModel {
    private var queue: IOQueue

    init(_ queue: consuming IOQueue) { self.queue = queue }

    var id: UInt16 { queue.id }
    var phase: IOQueue.Phase { queue.phase }
    var outstanding: Int { queue.outstanding }
    var wakeTime: Ticks? { queue.wakeTime }
    var isDrained: Bool { queue.isDrained }
    var isLost: Bool { false }
    var isSettled: Bool { true }
    var isAtRest: Bool? { nil }
    func poll(now: Ticks) -> Int { queue.poll(now: now) }
    func kick(isMapped: Bool) {}
    func rest() {}
    func enableDoorbellEvents() -> Bool { queue.enableDoorbellEvents() }
    func disableDoorbellEvents() { queue.disableDoorbellEvents() }
    func interruptAnyway() { queue.interruptAnyway() }
    func drain() { queue.drain() }
    func resume() { queue.resume() }
    func discard() { queue.discard() }
    func close() {}
    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws { try queue.add(setup) }
    func remove(submission: UInt16) { queue.remove(submission: submission) }
    func isDrained(submission: UInt16) -> Bool { queue.isDrained(submission: submission) }
    func release(submission: UInt16) { queue.release(submission: submission) }
    func abort(submission: UInt16, command: UInt16) -> Bool {
        queue.abort(submission: submission, command: command)
    }
    func isUnderWay(submission: UInt16, command: UInt16) -> Bool {
        queue.isUnderWay(submission: submission, command: command)
    }
    func attach(_ view: NamespaceView, channel: BlockChannel) {
        queue.attach(view, channel: channel)
    }
    func update(_ view: NamespaceView) { queue.update(view) }
    func detach(namespace: UInt32) { queue.detach(namespace: namespace) }
    func isDrained(namespace: UInt32) -> Bool { queue.isDrained(namespace: namespace) }
    func release(namespace: UInt32) { queue.release(namespace: namespace) }
    func exchange(memory: HostMemory) { queue.exchange(memory: memory) }
    func exchange(head: Doorbell) { queue.exchange(head: head) }
    func exchange(tail: Doorbell, of submission: UInt16) {
        queue.exchange(tail: tail, of: submission)
    }
}

/// How a simulated service reaches its host by transfers only.
final class SimulatedSite {
    let wire: SimulatedWire
    let staging: StagingArea
    let space: HostSpace
    private let log: Mapping
    /// Of a function on another machine: its memory, here and there.
    let far: (copy: Mapping, function: SimulatedFunction)?
    var random: Seed

    init(_ space: HostSpace, far function: SimulatedFunction?, random: Seed) throws {
        var random = random
        self.space = space
        log = try function?.journalFile ?? Mapping.fresh(byteCount: 4096)
        far = try function.map { (try Mapping.fresh(byteCount: $0.journalFile.byteCount), $0) }
        wire = SimulatedWire(depth: random.pick(1...40))
        let chunkCount = random.pick(2...6)
        let mapping = try Mapping.fresh(
            byteCount: (chunkCount + 8) * StagingArea.chunkByteCount)
        staging = StagingArea(mapping, chunkCount: chunkCount)
        self.random = random
    }

    /// A channel whose messages raise `line`.
    func host(_ line: SimulatedLine) -> SimulatedHostChannel {
        SimulatedHostChannel(
            space, log: log, page: far?.function.page, line: line, over: wire)
    }

    func step() {
        if !wire.isOpen && random.oneIn(8) { wire.open() }
        for _ in 0..<random.pick(1...40) { wire.step(&random) }
    }
}

final class MirroredModel: SimulatedModel {
    private let queue: MirroredIOQueue
    private let host: SimulatedHostChannel
    private let site: SimulatedSite
    private let number: UInt32
    private var turns = 0
    private var interval = 8
    /// Looks of a queue that slept, one after the other.
    private var quietLooks = 0

    init(
        _ setup: CompletionQueueSetup, memory: HostMemory, journal: NVMeMemory,
        site: SimulatedSite, line: SimulatedLine, shape: QueueShape, isNew: Bool
    ) throws {
        self.site = site
        host = site.host(line)
        number = site.wire.ledger.nextNumber ?? 0
        queue = try MirroredIOQueue(
            setup, memory: host.memory(of: memory), journal: journal,
            link: MirrorLink(
                staging: site.staging, channel: host, number: number, message: [1, 2]),
            shape: shape, counters: QueueCounters())
        site.wire.ledger.add(queue.client, number: number)
        if isNew { queue.clearHead() }
    }

    var id: UInt16 { queue.id }
    var phase: IOQueue.Phase { queue.phase }
    var outstanding: Int { queue.outstanding }
    var wakeTime: Ticks? { queue.wakeTime }
    var isDrained: Bool { queue.isDrained }
    var isLost: Bool { queue.isLost }
    var isSettled: Bool { queue.isSettled }
    var isAtRest: Bool? {
        queue.isAsleep && site.wire.isIdle && queue.outstanding == 0 && quietLooks > 1
    }

    func poll(now: Ticks) -> Int { queue.poll(now: now) }

    func kick(isMapped: Bool) {
        guard isMapped else { return queue.kick() }
        // Now and then.
        turns += 1
        if queue.outstanding > 0 {
            quietLooks = 0
        } else if queue.isAsleep, site.wire.isIdle, turns > interval {
            turns = 0
            interval = site.random.pick(8...80)
            quietLooks += 1
            queue.kick()
        }
    }

    func rest() { quietLooks = 2 }

    func enableDoorbellEvents() -> Bool { !queue.hasNews }
    func disableDoorbellEvents() { quietLooks = 0 }
    func interruptAnyway() { queue.interruptAnyway() }
    func drain() { queue.drain() }
    func resume() { queue.resume() }
    func discard() { queue.discard() }

    func close() {
        queue.close()
        site.wire.ledger.remove(number)
    }

    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws {
        try queue.add(setup, isNew: isNew)
    }
    func remove(submission: UInt16) { queue.remove(submission: submission) }
    func isDrained(submission: UInt16) -> Bool { queue.isDrained(submission: submission) }
    func release(submission: UInt16) { queue.release(submission: submission) }
    func abort(submission: UInt16, command: UInt16) -> Bool {
        queue.abort(submission: submission, command: command)
    }
    func isUnderWay(submission: UInt16, command: UInt16) -> Bool {
        queue.isUnderWay(submission: submission, command: command)
    }
    func attach(_ view: NamespaceView, channel: BlockChannel) {
        queue.attach(view, channel: channel)
    }
    func update(_ view: NamespaceView) { queue.update(view) }
    func detach(namespace: UInt32) { queue.detach(namespace: namespace) }
    func isDrained(namespace: UInt32) -> Bool { queue.isDrained(namespace: namespace) }
    func release(namespace: UInt32) { queue.release(namespace: namespace) }
    func exchange(memory: HostMemory) { queue.exchange(memory: host.memory(of: memory)) }
    func exchange(head: Doorbell) { queue.exchange(head: head) }
    func exchange(tail: Doorbell, of submission: UInt16) {
        queue.exchange(tail: tail, of: submission)
    }
}

extension SimulatedHostChannel {
    /// The part of the host's memory that `table` grants.
    func memory(of table: HostMemory) -> RemoteMemory {
        let granted = Set(table.regions.map(\.guestAddress))
        return RemoteMemory(
            memory.regions.filter { granted.contains($0.guestAddress) }, device: device)
    }
}
