internal import Platform
internal import Synchronization

/// One controller of a remote subsystem: an admin queue on a thread of its own, and an I/O queue
/// for each reactor that uses it.
///
/// The thread makes the connections, keeps them alive and makes them again, as `PathTimers` says.
/// What the control plane and the reactors know of the path is here.
public final class RemotePath: Sendable {
    /// As SPDK names them.
    public enum Phase: String, Sendable {
        case enabled, failed, resetting, deleting
        case delayed = "reconnect_is_delayed"
    }

    /// What its owner hears from the path's thread.
    enum Event: Sendable {
        case connected
        /// Namespaces or their access states may have changed.
        case changed
        case lost(PathFault)
        /// It was not made again, for another reason than the last time, and is tried later.
        case refused(PathFault)
        /// Connected again, and until this one has ended at the target nothing is sent.
        case waiting(Association)
        /// The target has not answered a command in its time and is asked to abort it.
        case late(queue: Int)
        /// Given up: nobody connects it again.
        case gone(PathFault)
    }

    struct State {
        var phase = Phase.resetting
        var facts = ControllerFacts()
        var namespaces: [NamespaceFacts] = []
        var berths: [Berth] = []
        var isResetWanted = false
        var isClosing = false
        var isAccessStale = false
        /// I/O queues that the target grants.
        var grantedQueues = 0
        /// Told of the end of the present or next attempt to connect.
        var waiters: [CheckedContinuation<PathFault?, Never>] = []
        /// Told of the end of the thread.
        var closers: [CheckedContinuation<Void, Never>] = []
        var hasEnded = false
    }

    public let options: PathOptions
    /// The discovery service that led to it; nil for one that a client has attached.
    public let discovery: String?
    /// Of the service: so many I/O queues are wanted.
    let reactorCount: Int
    let ledger: AssociationLedger
    /// Memory of requests that a target may reach; nil: everything is staged.
    let direct: DirectMemory?
    /// Of queues that several reactors shared, one after another.
    let sharedCounters = WorkCounters()
    let bell: SharedDescriptor
    let state = Mutex(State())
    private let requestsFail = Atomic<Bool>(false)
    private let closed = Atomic<Bool>(false)
    private let berthCount = Atomic<Int>(0)
    private let transferLimit = Atomic<Int>(RemoteNamespace.byteLimit)

    init(
        _ options: PathOptions, reactorCount: Int, _ ledger: AssociationLedger,
        direct: DirectMemory? = nil, discovery: String? = nil
    ) throws(SystemError) {
        self.direct = direct
        self.options = options
        self.discovery = discovery
        self.ledger = ledger
        self.reactorCount = reactorCount
        bell = SharedDescriptor(try EventDescriptor.create())
    }

    // MARK: Control plane

    public var phase: Phase { state.withLock { $0.phase } }
    public var facts: ControllerFacts { state.withLock { $0.facts } }
    var namespaces: [NamespaceFacts] { state.withLock { $0.namespaces } }
    /// Of the I/O queues since the path was made.
    public var work: PathWork {
        berths.map(\.counters.total).reduce(sharedCounters.total, +)
    }
    public var grantedQueues: Int { state.withLock { $0.grantedQueues } }

    /// Starts the thread and returns when the first attempt has ended: why it failed, and then the
    /// path is over.
    func open(_ onEvent: @escaping @Sendable (Event) -> Void) async -> PathFault? {
        await withCheckedContinuation { continuation in
            state.withLock { $0.waiters.append(continuation) }
            do throws(SystemError) {
                _ = try Thread(name: "nvmeof") { [self] in
                    PathThread(self, onEvent).run()
                    ended()
                }
            } catch {
                tellWaiters(PathFault(error))
                ended()
            }
        }
    }

    /// Has every connection made anew.
    /// - Returns: why that failed; nil when the path works again.
    func reset() async -> PathFault? {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.isClosing || state.hasEnded { return true }
                state.isResetWanted = true
                state.waiters.append(continuation)
                return false
            }
            if isOver { return continuation.resume(returning: .interrupted) }
            ring()
        }
    }

    /// Ends all connections and returns when the thread has ended.
    func close() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if state.hasEnded { return true }
                state.isClosing = true
                state.phase = .deleting
                state.closers.append(continuation)
                return false
            }
            if hasEnded { return continuation.resume() }
            ring()
        }
    }

    private func ended() {
        let closers = state.withLock { state in
            state.hasEnded = true
            defer { state.closers = [] }
            return state.closers
        }
        failsRequests = true
        closed.store(true, ordering: .releasing)
        tellWaiters(.interrupted)
        for closer in closers { closer.resume() }
    }

    private func ring() { EventDescriptor.signal(bell.number) }

    /// Whether the reactor of this thread has used the path.
    public func isUsed(by threadID: Int32) -> Bool {
        berths.contains { $0.threadID == threadID }
    }

    // MARK: The path's thread

    func enter(_ phase: Phase) {
        state.withLock { if !$0.isClosing { $0.phase = phase } }
    }

    /// The end of an attempt to connect; nil: it went well.
    func tellWaiters(_ fault: PathFault?) {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: fault) }
    }

    // MARK: Reactors

    /// A place for a reactor; its connection follows.
    func makeBerth() throws(SystemError) -> Berth {
        let berth = try Berth(pathBell: bell, depth: options.queueEntries)
        state.withLock { state in
            state.berths.append(berth)
            berthCount.add(1, ordering: .releasing)
        }
        ring()
        return berth
    }

    /// Places of reactors, whole as they were made: a sanitizer does not see the order that a lock
    /// keeps which was waited for, but that of the count.
    var berths: [Berth] {
        let all = state.withLock { $0.berths }
        _ = berthCount.load(ordering: .acquiring)
        return all
    }

    /// Whether requests that wait for the path fail instead.
    var failsRequests: Bool {
        get { requestsFail.load(ordering: .relaxed) }
        set {
            requestsFail.store(newValue, ordering: .relaxed)
            wakeReactors()
        }
    }

    /// Has them look at what is known of the path.
    func wakeReactors() {
        for berth in berths { berth.ring() }
    }

    var isClosed: Bool { closed.load(ordering: .acquiring) }

    /// Bytes of data of one command at most.
    var transferByteCount: Int {
        get { transferLimit.load(ordering: .relaxed) }
        set { transferLimit.store(newValue, ordering: .relaxed) }
    }

    /// A status said that an access state is not what is known.
    func refreshAccess() {
        state.withLock { $0.isAccessStale = true }
        ring()
    }
}
