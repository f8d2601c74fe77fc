internal import Bounded
internal import CWire
internal import Platform
internal import Synchronization

/// The last queue pair of a target that grants fewer than there are reactors: the reactors without
/// one of their own hand their commands to its thread.
final class SharedQueue: @unchecked Sendable {
    // Sendable: what changes is the thread's alone, but for the clients, which are under a lock and
    // looked at after an atomic has said that there are others.

    private let connection: TransportQueue
    private let bell: SharedDescriptor
    private let counters: WorkCounters
    private var counted: PathWork
    private let joined = Mutex<[SharedQueueClient]>([])
    private let joinedCount = Atomic<Int>(0)
    private var clients: [SharedQueueClient] = []

    /// Starts the thread; it ends with the connection.
    init(
        _ connection: TransportQueue, _ counters: WorkCounters
    ) throws(SystemError) {
        self.counters = counters
        // Connect has done some.
        counted = connection.work
        self.connection = connection
        bell = SharedDescriptor(try EventDescriptor.create())
        _ = try Thread(name: "nvmeof_shared") { [self] in run() }
    }

    /// A reactor's part of the queue.
    func makeClient(for berth: Berth) -> SharedQueueClient {
        let client = SharedQueueClient(
            depth: connection.depth, isReached: connection.isReached, bell: bell, berth: berth)
        joined.withLock { $0.append(client) }
        joinedCount.add(1, ordering: .releasing)
        EventDescriptor.signal(bell.number)
        return client
    }

    // MARK: The thread

    private func run() {
        var fault = ConnectionFault.broken
        if let epoll = try? Epoll(), (try? watch(epoll)) != nil {
            while true {
                turn()
                if case .ended(let reason) = connection.phase {
                    fault = reason
                    break
                }
                let tokens = epoll.wait(nanoseconds: connection.rest().map(Int64.init))
                if tokens.contains(1) { EventDescriptor.drain(bell.number) }
            }
        }
        // Nothing touches the memory of requests any more.
        for client in joined.withLock({ $0 }) { client.end(fault) }
    }

    private func watch(_ epoll: borrowing Epoll) throws(SystemError) {
        try epoll.add(connection.descriptor, .readable, token: 0)
        try epoll.add(bell.number, .readable, token: 1)
    }

    private func turn() {
        // Pairs with `makeClient`: so many are whole.
        let count = joinedCount.load(ordering: .acquiring)
        if count != clients.count { clients = joined.withLock { Array($0.prefix(count)) } }
        connection.pull()
        while let completion = connection.nextCompletion() {
            clients[Int(completion.token >> 32)].give(
                UInt32(truncatingIfNeeded: completion.token), completion.status)
        }
        for (index, client) in clients.enumerated() {
            while connection.hasRoom, let request = client.next() {
                connection.start(
                    request.command, request.transfer,
                    token: UInt64(index) << 32 | UInt64(request.slot))
            }
            client.ringReactor()
            if client.isStalled { connection.end(.stalled) }
        }
        connection.push()
        let total = connection.work
        counters.add(total - counted)
        counted = total
    }
}

/// One reactor's commands on a shared queue: a hand-over in each direction.
final class SharedQueueClient: @unchecked Sendable {
    // Sendable: each stored value belongs to the reactor or to the thread, as said; the hand-overs
    // and the atomic lie between.

    struct Request: BitwiseCopyable, Sendable {
        let command: nvme_sqe
        let transfer: QueuePair.Transfer
        let slot: UInt32
    }

    struct Answer: BitwiseCopyable, Sendable {
        let slot: UInt32
        let status: UInt16
    }

    /// Among the connections of its berth; set before the reactor has it.
    var number: UInt64 = 0
    private let requests: HandoffQueue<Request>
    private let answers: HandoffQueue<Answer>
    private let bell: SharedDescriptor
    private let berth: Berth
    /// A `ConnectionFault`, when the thread has ended; 0 before.
    private let ending = Atomic<UInt8>(0)
    /// The reactor waits for a command longer than it can.
    private let stalls = Atomic<Bool>(false)
    /// Whether the target reads the data of writes where it is.
    let isReached: Bool
    // The reactor's: what is handed over and not answered, by slot.
    private var slots: SlotPool
    private var tokens: FixedTable<UInt64>
    private var hasNews = false
    // The thread's.
    private var hasAnswers = false

    fileprivate init(depth: Int, isReached: Bool, bell: SharedDescriptor, berth: Berth) {
        self.isReached = isReached
        requests = HandoffQueue(capacity: depth)
        answers = HandoffQueue(capacity: depth)
        slots = SlotPool(capacity: depth)
        tokens = FixedTable(count: depth, repeating: 0)
        self.bell = bell
        self.berth = berth
    }

    // MARK: The reactor

    /// Why the queue has ended; nil while it works. No memory of requests is touched after that.
    var endedBy: ConnectionFault? {
        // Pairs with the releasing store in `end`.
        ConnectionFault(rawValue: ending.load(ordering: .acquiring))
    }

    var hasRoom: Bool { slots.freeCount > 0 }
    var outstanding: Int { slots.takenCount }

    func start(_ command: nvme_sqe, _ transfer: QueuePair.Transfer, token: UInt64) {
        guard let slot = slots.take() else { preconditionFailure("no room in the shared queue") }
        tokens[Int(slot)] = token
        let fits = requests.give(Request(command: command, transfer: transfer, slot: slot))
        precondition(fits, "more requests than the client's depth")
        hasNews = true
    }

    /// Has the queue end, and the memory of its commands be nobody else's.
    func stall() {
        stalls.store(true, ordering: .releasing)
        EventDescriptor.signal(bell.number)
    }

    func flush() {
        if hasNews { EventDescriptor.signal(bell.number) }
        hasNews = false
    }

    /// The next answered command.
    func nextAnswer() -> (token: UInt64, status: UInt16)? {
        guard let answer = answers.take() else { return nil }
        slots.giveBack(answer.slot)
        return (tokens[Int(answer.slot)], answer.status)
    }

    /// After the end, when all answers are taken: a command that will never be answered.
    func nextLost() -> UInt64? {
        for slot in 0..<tokens.count where slots.isTaken(UInt32(slot)) {
            slots.giveBack(UInt32(slot))
            return tokens[slot]
        }
        return nil
    }

    // MARK: The thread

    fileprivate var isStalled: Bool { stalls.load(ordering: .acquiring) }

    fileprivate func next() -> Request? { requests.take() }

    fileprivate func give(_ slot: UInt32, _ status: UInt16) {
        let fits = answers.give(Answer(slot: slot, status: status))
        precondition(fits, "more answers than requests")
        hasAnswers = true
    }

    fileprivate func ringReactor() {
        if hasAnswers { berth.ring() }
        hasAnswers = false
    }

    fileprivate func end(_ fault: ConnectionFault) {
        ending.store(fault.rawValue, ordering: .releasing)
        berth.ring()
    }
}
