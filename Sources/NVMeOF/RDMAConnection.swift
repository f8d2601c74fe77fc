internal import CWire
internal import Memory
internal import Platform
internal import RDMA

/// A capsule queue on its queue pair.
///
/// Its connection is somebody else's (`RDMALine`): when that closes, the queue pair fails, and the
/// device gives back what it has. Keeps the memory, whose keys end with it.
final class RDMAConnection: @unchecked Sendable {
    // Sendable: the path's thread makes it, posts it to a reactor and forgets it; the line calls
    // only `fail` of the queue pair, which any thread may.

    /// Turns without an answer until the device is asked for an event.
    private static let idleLimit = 16
    /// A device that works gives everything back much faster.
    private static let endNanoseconds: UInt64 = 1_000_000_000

    let queue: CapsuleQueue
    /// Among the connections of its berth.
    var number: UInt64 = 0
    private let domain: StorageDomain
    /// What `queue.direct` was made of.
    private var domainGeneration: UInt64 = 0
    private let pair: RDMA.QueuePair
    private let completions: CompletionQueue
    /// Capsules and answers; the target has no key of it.
    private let own: MemoryRegion
    /// The buffer, which the target reads and writes.
    private let shared: MemoryRegion
    private var batch = RDMA.CompletionBatch(capacity: 64)
    private var idleCount = 0
    private var pollCount: UInt64 = 0
    private var idlePollCount: UInt64 = 0
    private var callCount: UInt64 = 0
    /// The next entry raises an event.
    private var isArmed = false
    /// Since when it ends; nil before.
    private var endLimit: UInt64?

    /// Makes a queue pair of `storage`, not connected yet.
    init(_ storage: StorageDomain, _ shape: CapsuleQueue.Shape) throws(RDMAError) {
        domain = storage
        let domain = storage.domain
        let areas: CapsuleAreas
        do throws(SystemError) {
            areas = try CapsuleAreas(shape)
        } catch { throw .system(error) }
        own = try MemoryRegion(domain, areas.mapping, byteCount: areas.privateByteCount)
        shared = try MemoryRegion(
            domain, areas.mapping, offset: areas.privateByteCount,
            byteCount: areas.bufferByteCount, access: [.remoteRead, .remoteWrite])
        let depths = RDMA.QueuePair.Shape(
            sendDepth: shape.depth, receiveDepth: areas.answerCount)
        completions = try CompletionQueue(
            domain.device, capacity: depths.sendDepth + depths.receiveDepth)
        pair = try RDMA.QueuePair(domain, sends: completions, receives: completions, depths)
        queue = CapsuleQueue(shape, areas, buffer: shared.remote())
    }

    /// Makes the queue pair that of `connection`; answers may come from here on.
    func attach(to connection: Connection) throws(RDMAError) {
        connection.waitsForReceives = true
        try connection.attach(pair)
        push()
        if case .ending = queue.phase {
            throw .outOfOrder(step: "post receives", connection.state)
        }
    }

    /// Readable when something has come, once `isAsleep`.
    var descriptor: Int32 { completions.descriptor }

    /// Since it was made. soft-RoCE's library adds a system call for each doorbell of sends.
    var work: PathWork {
        let posted = pair.counters
        return PathWork(
            commands: queue.commandCount, direct: queue.directByteCount,
            staged: queue.stagedByteCount,
            workRequests: UInt64(posted.sends &+ posted.receives),
            doorbells: UInt64(posted.doorbells), polls: pollCount, idlePolls: idlePollCount,
            systemCalls: callCount)
    }

    // MARK: Turns

    /// Hands over what there is to send.
    func push() {
        if queue.phase != .ready { return }
        let generation = domain.generation
        if generation != domainGeneration {
            domainGeneration = generation
            domain.copy(into: &queue.direct)
        }
        while let place = queue.nextAnswerPlace() {
            let segment = own.segment(queue.areas.answer(place))
            let fits = pair.prepareReceive(into: segment, tag: UInt64(place))
            precondition(fits, "as many receive requests as places")
        }
        while let capsule = queue.nextCapsule() {
            let fits = pair.prepareSend(own.segment(capsule.bytes), tag: UInt64(capsule.slot))
            precondition(fits, "as many send requests as slots")
        }
        if pair.post() != 0 { queue.end(.broken) }
    }

    /// Takes what has come.
    func pull() {
        if take() > 0 {
            idleCount = 0
            if isArmed { takeEvents() }
            isArmed = false
        } else if !isArmed {
            idleCount &+= 1
            if idleCount >= RDMAConnection.idleLimit { _ = rest() }
        }
        if case .ending = queue.phase { goOnEnding() }
    }

    /// Has the descriptor tell of what comes next.
    /// - Returns: false when something has come already.
    func rest() -> Bool {
        takeEvents()
        completions.arm()
        isArmed = true
        // An entry that came before raises no event.
        if take() == 0 { return queue.phase == .ready }
        isArmed = false
        return false
    }

    /// Whether nothing is missed while nobody polls. Called before each sleep: an event may have
    /// come for an entry that was taken just before `arm`, and then the next one raises none.
    func isAsleep() -> Bool {
        if !isArmed || queue.phase != .ready { return false }
        isArmed = takeEvents() == 0
        return isArmed
    }

    /// Each event is a call, and so is the look that finds no more.
    @discardableResult
    private func takeEvents() -> Int {
        let count = completions.takeEvents()
        callCount &+= UInt64(count) &+ 1
        return count
    }

    private func take() -> Int {
        let count = completions.poll(into: &batch)
        if count > 0 { pollCount &+= 1 } else { idlePollCount &+= 1 }
        for index in 0..<count {
            let completion = batch[index]
            guard let ended = pair.retire(completion) else { continue }
            if completion.status != .success {
                queue.end(completion.status == .flushed ? .closed : .broken)
            } else if completion.isReceive {
                queue.received(at: Int(ended.tag), byteCount: completion.byteCount)
            } else {
                queue.sent(ended.count)
            }
        }
        if completions.isDead { queue.end(.broken) }
        return count
    }

    /// Once in the life of a connection: it fails the queue pair by a system call.
    private func goOnEnding() {
        let now = Clock.monotonicNanoseconds()
        // Memory of requests is given back when the device says so, however late that is.
        let wait = queue.directByteCount > 0 ? .max - now : RDMAConnection.endNanoseconds
        let limit = endLimit ?? now + wait
        if endLimit == nil {
            endLimit = limit
            // What refuses to fail is gone already.
            try? pair.fail()
        }
        if pair.outstanding == 0 || completions.isDead || now >= limit { queue.finishEnd() }
    }
}
