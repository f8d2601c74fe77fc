import Bdev
import Bounded
import Memory
import NVMe
import Platform
import Seeds
import StoreProbe

/// A disk that a controller may show to its host.
final class SimulatedNamespace {
    let id: UInt32
    let backend: ChaosBackend
    let disk: BlockDevice
    /// What the operator asks for, and whether a controller has yet to follow.
    var isAttached = true
    var blockCount: Int
    /// A controller has yet to follow: both the old and the new are right.
    var isChanging = false

    init(id: UInt32, backend: ChaosBackend) {
        self.id = id
        self.backend = backend
        disk = BlockDevice(name: "disk\(id)", backend: backend)
        blockCount = Int(backend.geometry.blockCount)
    }

    var blockShift: UInt8 { UInt8(backend.geometry.blockByteCount.trailingZeroBitCount) }

    var view: NamespaceView {
        NamespaceView(
            id: id, blockShift: blockShift, blockCount: UInt64(blockCount), hasCache: true,
            offersWriteZeroes: true, offersCompare: true, offersDeallocate: true,
            offersVerify: true)
    }

    var facts: NamespaceFacts {
        NamespaceFacts(
            view: view, uuid: [UInt8](repeating: 1, count: 16),
            nguid: [UInt8](repeating: 2, count: 16), eui64: nil)
    }
}

/// The control plane of one function in one thread: does what `NVMeController` does, one operation
/// after the other, each in steps between which everything else goes on.
final class SimulatedController {
    typealias Step = () -> Bool

    static let transferByteLimit = 32768

    let function: SimulatedFunction
    let namespaces: [SimulatedNamespace]
    let journal: NVMeMemory
    var model: ControllerModel
    var admin: SimulatedAdminQueue?
    var queues: [UInt16: SimulatedIOQueue] = [:]
    /// Queues that have ended; their channels may have requests until the world's end.
    private(set) var channels: [BlockChannel] = []
    /// Steps of the operation that runs, and operations that wait.
    private var steps: [Step] = []
    private var operations: [Step] = []
    var memory: HostMemory?
    var epoch = 0
    var followed = 0
    /// Of the state that it follows: the host may have gone on.
    var latest: Registers
    private var isFollowing = false
    private var isRestarting = false
    var runs = 0
    var isSuspended: Bool
    /// A sentence about what must not happen.
    let complain: (String) -> Void
    var records: OutcomeRecord
    /// Nil: host memory is mapped.
    let site: SimulatedSite?

    init(
        _ function: SimulatedFunction, _ namespaces: [SimulatedNamespace], isSuspended: Bool,
        layout: Int, site: SimulatedSite? = nil, complain: @escaping (String) -> Void
    ) throws {
        self.site = site
        self.function = function
        latest = function.registers
        self.namespaces = namespaces
        self.complain = complain
        self.isSuspended = isSuspended
        journal = try NVMeMemory(
            adopting: site?.far?.copy ?? function.journalFile,
            queueCount: SimulatedFunction.queueCount + 1, wanting: layout,
            isFar: site?.far != nil)
        records = OutcomeRecord(journal)
        var configuration = ControllerModel.Configuration(
            subsystemNQN: "nqn.2014-08.org.nvmexpress:test", serialNumber: "S", modelNumber: "M",
            controllerID: 1, vendorID: 1, subsystemVendorID: 1, namespaceLimit: 4,
            namespaceCountLimit: 4, isSingleController: true,
            queueCount: SimulatedFunction.queueCount, queueSize: SimulatedFunction.queueSize,
            vectorCount: 3, mdts: 3, firmwareSlotCount: 1)
        configuration.offersWriteZeroes = true
        configuration.offersCompare = true
        configuration.offersCompareAndWrite = site == nil
        configuration.offersDeallocate = true
        model = ControllerModel(configuration)
        for namespace in namespaces where namespace.isAttached { model.attach(namespace.facts) }
    }

    // --- turns ---

    /// Queue ids in a fixed order, for a seed's sake.
    var queueIDs: [UInt16] { queues.keys.sorted() }

    /// A turn of each reactor, then some steps of the control plane.
    func turn(now: Ticks, steps count: Int) {
        if let admin {
            admin.turn(now: now) { command in
                let run = admin.run
                perform { [unowned self] in
                    carryOut(command, run: run)
                    return true
                }
            }
            if let fault = admin.fault { complain("the admin queue failed: \(fault.text)") }
        }
        if let site {
            site.step()
            for queue in queues.values { queue.listen() }
            for queue in queues.values {
                for id in queue.watched { function.kicks[Int(id)] = false }
            }
        }
        for id in queueIDs {
            guard let queue = queues[id] else { continue }
            queue.turn(now: now)
            if let fault = queue.fault { complain("queue \(id) failed: \(fault.text)") }
        }
        if followed != function.generation, !isFollowing {
            isFollowing = true
            perform { [unowned self] in
                isFollowing = false
                reconcile()
                return true
            }
        }
        restartLost()
        for _ in 0..<count where !step() { break }
    }

    /// The connection of a mirrored service breaks.
    /// - Returns: whether it did.
    func breakConnection() -> Bool {
        guard let site, site.wire.isOpen else { return false }
        site.wire.close()
        return true
    }

    /// Queues that have lost their transfers begin anew, from what function memory knows.
    private func restartLost() {
        let isLost = admin?.queue.isLost == true || queues.values.contains { $0.queue.isLost }
        guard isLost, !isRestarting else { return }
        isRestarting = true
        perform { [unowned self] in
            isRestarting = false
            if admin?.queue.isLost == true { restartAdmin() }
            for id in queueIDs where queues[id]?.queue.isLost == true { restart(id) }
            return true
        }
    }

    private func restart(_ id: UInt16) {
        guard let lost = queues[id], let record = model.completionQueues[id] else { return }
        then(
            { lost.queue.isDrained },
            { [unowned self] in
                lost.queue.close()
                channels += lost.channels
                let submissions = model.submissionQueues
                    .filter { $0.value.completionQueue == id }
                    .sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
                readJournals([id], of: submissions.map(\.0))
                do {
                    queues[id] = try startQueue(id, record, submissions: submissions)
                    if isSuspended { queues[id]?.queue.drain() }
                } catch { complain("a lost queue does not start: \(error)") }
                return true
            })
    }

    private func restartAdmin() {
        guard let lost = admin else { return }
        then(
            { lost.queue.isQuiet },
            { [unowned self] in
                lost.queue.close()
                admin = nil
                readJournals([0], of: [0])
                guard records.restore(&model) else {
                    complain("function memory does not say what its driver has set up")
                    return true
                }
                carry()
                do {
                    try startAdmin()
                    if isSuspended { admin?.queue.drain() }
                } catch { complain("the admin queue does not start: \(error)") }
                return true
            })
    }

    /// - Returns: false when nothing can be done now.
    private func step() -> Bool {
        if steps.isEmpty {
            if operations.isEmpty { return false }
            steps.append(operations.removeFirst())
        }
        let next = steps.removeFirst()
        if next() { return true }
        steps.insert(next, at: 0)
        return false
    }

    /// Queues an operation.
    func perform(_ operation: @escaping Step) { operations.append(operation) }

    /// Steps of the running operation, to come before those that are there. A step that returns
    /// false is tried again.
    func then(_ next: Step...) { steps.insert(contentsOf: next, at: 0) }

    func heat() {
        admin?.heat()
        for queue in queues.values { queue.heat() }
    }

    var isAtRest: Bool {
        steps.isEmpty && operations.isEmpty && followed == function.generation
            && admin?.isAtRest != false && queues.values.allSatisfy(\.isAtRest)
    }

    /// Suspended, with nothing under way.
    var isHalted: Bool {
        isSuspended && steps.isEmpty && operations.isEmpty
            && queues.values.allSatisfy { $0.queue.isDrained } && quiet()
    }

    /// Turns of reactors whose controller follows the host no more.
    func idle(now: Ticks) {
        _ = admin?.queue.poll(now: now)
        for id in queueIDs { _ = queues[id]?.queue.poll(now: now) }
    }

    /// For a violation's text.
    var condition: String {
        "\(steps.count) steps, \(operations.count) operations, follows \(followed) of "
            + "\(function.generation), suspended \(isSuspended), "
            + queueIDs.map { "\($0): \(queues[$0]?.queue.outstanding ?? 0)" }.joined(separator: " ")
    }

    /// Nobody polls it any more: what its storage has begun comes to its end.
    func bury(now: Ticks) {
        var time = now
        var ended = CompletionBatch(capacity: 256)
        for channel in channels + queueIDs.flatMap({ queues[$0]?.channels ?? [] }) {
            while channel.outstanding > 0 {
                channel.poll(into: &ended, now: time)
                ended.removeAll()
                time = time.advanced(by: 1000)
            }
        }
    }

    /// After its death and burial: drops what it was about to do.
    func abandon() {
        steps = []
        operations = []
        admin = nil
        queues = [:]
    }

    // --- queues ---

    func number(_ queue: UInt16, isHead: Bool) -> Int { 2 * Int(queue) + (isHead ? 1 : 0) }

    func doorbell(_ queue: UInt16, isHead: Bool) -> Doorbell {
        let place = number(queue, isHead: isHead)
        guard let shadow = model.shadowDoorbells else {
            return function.doorbell(place, isFar: site?.far != nil)
        }
        return .host(
            value: shadow.values + UInt64(4 * place),
            eventIndex: shadow.eventIndexes + UInt64(4 * place))
    }

    func setup(_ id: UInt16, _ record: QueueRecord) -> SubmissionQueueSetup {
        SubmissionQueueSetup(
            id: id, address: record.address, size: record.size,
            completionQueue: record.completionQueue, tail: doorbell(id, isHead: false))
    }

    func startQueue(
        _ id: UInt16, _ record: QueueRecord, submissions: [(UInt16, QueueRecord)],
        isNew: Bool = false
    ) throws -> SimulatedIOQueue {
        let running = SimulatedIOQueue(try makeModel(id, record, isNew: isNew), function)
        for namespace in namespaces {
            guard let facts = model.namespaces[namespace.id] else { continue }
            try running.attach(facts.view, namespace.disk)
        }
        for (id, record) in submissions {
            try running.queue.add(setup(id, record), isNew: false)
            running.watched.append(id)
        }
        running.queue.interruptAnyway()
        return running
    }

    private func makeModel(
        _ id: UInt16, _ record: QueueRecord, isNew: Bool
    ) throws -> any SimulatedModel {
        guard let memory else { throw QueueFault.memoryGone }
        let setup = CompletionQueueSetup(
            id: id, address: record.address, size: record.size, vector: record.vector,
            isInterruptEnabled: record.isInterruptEnabled, head: doorbell(id, isHead: true))
        let shape = QueueShape(transferByteLimit: Self.transferByteLimit, namespaceLimit: 4)
        let line = function.lines[Int(record.vector)]
        if let site {
            return try MirroredModel(
                setup, memory: memory, journal: journal, site: site, line: line, shape: shape,
                isNew: isNew)
        }
        return MappedModel(
            try IOQueue(
                setup, memory: memory, journal: journal, interrupt: line, shape: shape,
                counters: QueueCounters()))
    }

    func endQueues() {
        admin?.queue.close()
        for id in queueIDs { queues[id]?.queue.close() }
        admin = nil
        channels += queueIDs.flatMap { queues[$0]?.channels ?? [] }
        queues = [:]
    }

    func storeRecord() {
        records.store(model)
        carry()
    }
}
