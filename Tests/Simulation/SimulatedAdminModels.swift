import Memory
import NVMe
import Platform

/// An admin queue of either data path, as its simulated controller sees it.
protocol SimulatedAdminModel: AnyObject {
    var phase: IOQueue.Phase { get }
    /// Whether host memory can no longer be reached.
    var isLost: Bool { get }
    /// Stopped, with nothing of it under way.
    var isQuiet: Bool { get }
    /// Nil: its standing says it.
    var isAtRest: Bool? { get }

    func poll(now: Ticks) -> Int
    func next() -> AdminCommand?
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32)
    func read(_ slot: Int, byteCount: Int)
    func write(_ slot: Int, _ data: [UInt8])
    /// Nil while the data is under way.
    func end(ofData slot: Int) -> AdminData?
    func enableDoorbellEvents() -> Bool
    func disableDoorbellEvents()
    func interruptAnyway()
    func drain()
    func resume()
    func discard()
    func exchange(memory: HostMemory)
    func close()
}

extension SimulatedAdminModel {
    func complete(_ slot: Int, _ status: NVMeStatus) { complete(slot, status, result: 0) }
}

final class MappedAdminModel: SimulatedAdminModel {
    private var queue: AdminQueue
    private var moved = AdminData.lost

    init(_ queue: consuming AdminQueue) { self.queue = queue }

    var phase: IOQueue.Phase { queue.phase }
    var isLost: Bool { false }
    var isQuiet: Bool { true }
    var isAtRest: Bool? { nil }
    func poll(now: Ticks) -> Int { queue.poll(now: now) }
    func next() -> AdminCommand? { queue.next() }
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32) {
        queue.complete(slot, status, result: result)
    }

    func read(_ slot: Int, byteCount: Int) {
        do throws(NVMeStatus) {
            moved = .moved(try queue.read(slot, byteCount: byteCount))
        } catch { moved = .refused(error) }
    }

    func write(_ slot: Int, _ data: [UInt8]) {
        do throws(NVMeStatus) {
            try queue.write(slot, data)
            moved = .moved([])
        } catch { moved = .refused(error) }
    }

    func end(ofData slot: Int) -> AdminData? { moved }
    func enableDoorbellEvents() -> Bool { queue.enableDoorbellEvents() }
    func disableDoorbellEvents() { queue.disableDoorbellEvents() }
    func interruptAnyway() { queue.interruptAnyway() }
    func drain() { queue.drain() }
    func resume() { queue.resume() }
    func discard() { queue.discard() }
    func exchange(memory: HostMemory) { queue.exchange(memory: memory) }
    func close() {}
}

final class MirroredAdminModel: SimulatedAdminModel {
    private let queue: MirroredAdminQueue
    private let host: SimulatedHostChannel
    private let site: SimulatedSite
    private let number: UInt32

    init(
        submission: SubmissionQueueSetup, completion: CompletionQueueSetup, memory: HostMemory,
        journal: NVMeMemory, site: SimulatedSite, line: SimulatedLine
    ) throws {
        self.site = site
        host = site.host(line)
        number = site.wire.ledger.nextNumber ?? 0
        queue = try MirroredAdminQueue(
            submission: submission, completion: completion, memory: host.memory(of: memory),
            journal: journal,
            link: MirrorLink(
                staging: site.staging, channel: host, number: number, message: [1, 2]),
            transferByteLimit: SimulatedController.transferByteLimit, counters: QueueCounters())
        site.wire.ledger.add(queue.client, number: number)
    }

    var phase: IOQueue.Phase { queue.phase }
    var isLost: Bool { queue.isLost }
    var isQuiet: Bool { queue.isQuiet }
    var isAtRest: Bool? { queue.isAsleep && site.wire.isIdle }
    func poll(now: Ticks) -> Int { queue.poll(now: now) }
    func next() -> AdminCommand? { queue.next() }
    func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32) {
        queue.complete(slot, status, result: result)
    }
    func read(_ slot: Int, byteCount: Int) { queue.read(slot, byteCount: byteCount) }
    func write(_ slot: Int, _ data: [UInt8]) { queue.write(slot, data) }
    func end(ofData slot: Int) -> AdminData? { queue.end(ofData: slot) }
    func enableDoorbellEvents() -> Bool { !queue.hasNews }
    func disableDoorbellEvents() { queue.kick() }
    func interruptAnyway() { queue.interruptAnyway() }
    func drain() { queue.drain() }
    func resume() { queue.resume() }
    func discard() { queue.discard() }
    func exchange(memory: HostMemory) { queue.exchange(memory: host.memory(of: memory)) }

    func close() {
        queue.close()
        site.wire.ledger.remove(number)
    }
}
