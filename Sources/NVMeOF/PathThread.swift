internal import CWire
internal import Platform
internal import Synchronization

/// The thread of one path. From the top:
///
///     connect ──▶ serve ──(lost)──▶ connect again, at once, then after each delay
///        │                              │
///        └─(first attempt failed)       ├─(controller loss timeout)──▶ gone
///                                       └─(no timers)──▶ failed until reset
final class PathThread {
    private let path: RemotePath
    private let onEvent: @Sendable (RemotePath.Event) -> Void
    private let timers: PathTimers
    private var exchange: CommandExchange?
    private var limits = CommandExchange.Limits()
    /// Entries of an I/O queue that the controller takes.
    private var entryLimit: UInt16 = 2
    /// Berths that have been given a queue, in their order.
    private var seatCount = 0
    /// Of the I/O queues.
    private var lifelines: [Lifeline] = []
    /// Nil while the target grants enough.
    private var shared: SharedQueue?
    /// Since when requests may wait; nil while the path works.
    private var lostAt: UInt64?
    /// The association and its number on record; nil without one.
    private var association: (number: UInt64, Association)?
    /// The last one that was lost with commands that its target may still carry out.
    private var loss: Loss?
    private var isShuttingDown = false
    /// Counts the wake-ups, whatever was waited for.
    private var wakeCount: UInt64 = 0

    private struct Loss {
        let association: Association
        /// When nothing of it can have an effect any more, whatever the target says.
        let end: UInt64
    }

    init(_ path: RemotePath, _ onEvent: @escaping @Sendable (RemotePath.Event) -> Void) {
        self.path = path
        self.onEvent = onEvent
        timers = path.options.timers
    }

    func run() {
        if let fault = establish() { return path.tellWaiters(fault) }
        while true {
            let fault = serve()
            if isClosing { return shutDown() }
            disconnect()
            lostAt = Clock.monotonicNanoseconds()
            if fault != .interrupted { onEvent(.lost(fault)) }
            if !reestablish() { return }
        }
    }

    private var isClosing: Bool { path.state.withLock { $0.isClosing } }

    private func nanoseconds(_ seconds: UInt64) -> UInt64 { seconds * 1_000_000_000 }

    // MARK: Connecting again

    /// - Returns: false when the path is closed.
    private func reestablish() -> Bool {
        path.enter(.resetting)
        var lastFault: PathFault?
        while let fault = establish() {
            path.tellWaiters(fault)
            if fault != .interrupted && fault != lastFault { onEvent(.refused(fault)) }
            lastFault = fault
            if timers.controllerLossSeconds == 0 {
                path.enter(.failed)
                path.failsRequests = true
                rest(until: .max)
            } else {
                path.enter(.delayed)
                rest(
                    until: Clock.monotonicNanoseconds()
                        + nanoseconds(timers.reconnectDelaySeconds))
            }
            if hasLostController { giveUp(fault) }
            if isClosing { return false }
            path.enter(.resetting)
        }
        return true
    }

    /// Says that the path is lost, and waits until its owner closes it.
    private func giveUp(_ fault: PathFault) {
        path.enter(.failed)
        path.failsRequests = true
        onEvent(.gone(fault))
        while !isClosing { rest(until: .max) }
    }

    private var hasLostController: Bool {
        guard timers.controllerLossSeconds > 0, let lostAt else { return false }
        let limit = nanoseconds(UInt64(timers.controllerLossSeconds))
        return Clock.monotonicNanoseconds() - lostAt >= limit
    }

    /// Until then, or until the path is reset or closed.
    private func rest(until end: UInt64) {
        while Clock.monotonicNanoseconds() < end {
            let isWanted = path.state.withLock { state in
                defer { state.isResetWanted = false }
                return state.isResetWanted || state.isClosing
            }
            if isWanted || hasLostController && !path.failsRequests { return }
            soundAlarm()
            if UnixSocket.waitReadable(path.bell.number, milliseconds: 100) {
                EventDescriptor.drain(path.bell.number)
            }
        }
    }

    /// Lets waiting requests fail when their time is over.
    private func soundAlarm() {
        guard let lostAt, timers.fastIOFailSeconds > 0, !path.failsRequests else { return }
        let limit = nanoseconds(timers.fastIOFailSeconds)
        if Clock.monotonicNanoseconds() - lostAt >= limit { path.failsRequests = true }
    }

    /// Ends the waits of an exchange when the path is closed, or reset while it works.
    private func attend() throws(PathFault) {
        wakeCount &+= 1
        if isShuttingDown { return }
        soundAlarm()
        let isWanted = path.state.withLock { state in
            state.isClosing || state.isResetWanted && lostAt == nil
        }
        if isWanted { throw .interrupted }
    }

    // MARK: Connecting

    /// - Returns: why it failed; nil when the path works.
    private func establish() -> PathFault? {
        do throws(PathFault) {
            try connect()
        } catch {
            disconnect()
            return error
        }
        lostAt = nil
        path.state.withLock { $0.isResetWanted = false }
        path.failsRequests = false
        path.enter(.enabled)
        onEvent(.connected)
        path.tellWaiters(nil)
        return nil
    }

    private func connect() throws(PathFault) {
        let options = path.options
        let exchange = try makeExchange(.admin)
        self.exchange = exchange
        let id = try exchange.connect(options)
        let (entries, version) = try exchange.enable()
        entryLimit = max(2, entries)
        limits = try exchange.identifyController(version: version)
        limits.facts.id = id
        let record = Association(options, limits.facts)
        association = (try path.ledger.begin(record), record)
        try exchange.configureEvents(
            limits.events & UInt32(NVME_OAES_NAMESPACE_ATTRIBUTE | NVME_OAES_ANA_CHANGE))
        let granted = try exchange.requestQueues(options.queueCount)
        let namespaces = try exchange.identifyNamespaces(limits)
        // A target that has accepted everything may still not serve (spdk#2876).
        try exchange.keepAlive()
        exchange.requestEvent()
        path.transferByteCount = limits.transferByteCount ?? RemoteNamespace.byteLimit
        path.state.withLock { state in
            state.grantedQueues = granted
            state.facts = limits.facts
            state.namespaces = namespaces
        }
        try settle(exchange)
        try seatBerths()
    }

    private func makeExchange(_ role: QueueRole) throws(PathFault) -> CommandExchange {
        try CommandExchange(
            path.options, role, direct: role.id == 0 ? nil : path.direct, bell: path.bell.number
        ) {
            [unowned self] () throws(PathFault) in try attend()
        }
    }

    /// Gives every berth that has none an I/O queue. When the target grants fewer than there are
    /// reactors, those that came first have one each, and the others share the last.
    private func seatBerths() throws(PathFault) {
        let (berths, granted) = (path.berths, path.state.withLock { $0.grantedQueues })
        let ownCount = granted >= path.reactorCount ? granted : granted - 1
        while seatCount < berths.count {
            let berth = berths[seatCount]
            if seatCount < ownCount {
                berth.give(try makeQueue(seatCount + 1))
            } else {
                berth.give(try sharedQueue(granted).makeClient(for: berth))
            }
            seatCount += 1
        }
    }

    private func sharedQueue(_ number: Int) throws(PathFault) -> SharedQueue {
        if let shared { return shared }
        let connection = try makeQueue(number)
        do throws(SystemError) {
            let made = try SharedQueue(connection, path.sharedCounters)
            shared = made
            return made
        } catch { throw PathFault(error) }
    }

    /// Connects I/O queue `number`.
    private func makeQueue(_ number: Int) throws(PathFault) -> TransportQueue {
        let entries = min(UInt16(clamping: path.options.queueEntries), entryLimit)
        let depth = min(Int(entries) - 1, limits.commandCount ?? .max)
        let made = try makeExchange(
            .io(
                UInt16(number), entries: entries, of: limits.facts.id, depth: max(1, depth),
                capsuleDataByteCount: limits.capsuleDataByteCount))
        _ = try made.connect(path.options)
        switch made.connection {
        case .tcp(let connection):
            connection.queue.capsuleDataByteCount = limits.capsuleDataByteCount
        case .rdma(let connection):
            connection.queue.descriptorLimit = limits.descriptorCount
        }
        lifelines.append(made.lifeline)
        try exchange?.follow(made.lifeline)
        return made.connection
    }

    /// The end of a path that works: its users have gone.
    private func shutDown() {
        isShuttingDown = true
        let isIdle = path.berths.allSatisfy(\.isIdle)
        exchange?.shutDown(milliseconds: min(1_000, timers.patienceMilliseconds))
        disconnect(isIdle: isIdle)
    }

    /// - Parameter isIdle: no command is under way; what a reactor has is not known in general.
    private func disconnect(isIdle: Bool = false) {
        if let (number, record) = association {
            let isOver = isIdle || seatCount == 0
            path.ledger.end(number, isIdle: isOver)
            if !isOver {
                loss = Loss(
                    association: record, end: record.end(from: Clock.monotonicNanoseconds()))
            }
        }
        association = nil
        // Reactors see the end of theirs by this.
        for lifeline in lifelines { lifeline.cut() }
        for berth in path.berths { berth.dropIdle() }
        lifelines = []
        seatCount = 0
        shared = nil
        exchange = nil
    }

    /// Waits until the association that was lost is over: what its target still has of it would be
    /// carried out after commands that are newer (design, "Predecessor rule").
    private func settle(_ exchange: CommandExchange) throws(PathFault) {
        var pause = AssociationPause()
        var isTold = false
        while let loss, !isOver(loss) {
            if !isTold { onEvent(.waiting(loss.association)) }
            isTold = true
            try exchange.wait(until: Clock.monotonicNanoseconds() + pause.next())
            try exchange.keepAliveIfDue()
        }
        loss = nil
    }

    /// Its identifier is another controller's, its time has passed, or the target says so.
    private func isOver(_ loss: Loss) -> Bool {
        if loss.association.controllerID == limits.facts.id { return true }
        if Clock.monotonicNanoseconds() >= loss.end { return true }
        let isKnown = try? CommandExchange.knows(loss.association) {
            [path] in !path.state.withLock { $0.isClosing }
        }
        return isKnown == false
    }

    // MARK: Serving

    /// Keeps the path alive until it is lost, reset or closed.
    private func serve() -> PathFault {
        guard let exchange else { return .interrupted }
        do throws(PathFault) {
            while true {
                let seen = wakeCount
                try seatBerths()
                try checkBerths()
                try passOnAborts(exchange)
                try follow(exchange)
                try exchange.keepAliveIfDue()
                // A bell that rang while an answer was waited for does not ring again.
                if wakeCount == seen { try exchange.wait(until: exchange.keepAliveDue) }
            }
        } catch {
            return error
        }
    }

    private func checkBerths() throws(PathFault) {
        for berth in path.berths {
            if let fault = berth.endedBy { throw PathFault(fault) }
        }
    }

    /// Asks the target to abort what reactors have waited for too long (Base §5.1). Its answer does
    /// not matter: the command's own is waited for.
    private func passOnAborts(_ exchange: CommandExchange) throws(PathFault) {
        let berths = path.berths
        for (index, berth) in berths.enumerated() {
            while let identifier = berth.nextAbort() {
                onEvent(.late(queue: index + 1))
                var command = nvme_sqe()
                command.opcode = UInt8(NVME_ADMIN_ABORT)
                command.cdw10 = UInt32(index + 1) | UInt32(identifier) << 16
                _ = try exchange.execute(command, "Abort")
            }
        }
    }

    /// Takes up what the target has announced.
    private func follow(_ exchange: CommandExchange) throws(PathFault) {
        let isStale = path.state.withLock { state in
            defer { state.isAccessStale = false }
            return state.isAccessStale
        }
        let events = exchange.takeEvents()
        for _ in events { exchange.requestEvent() }
        if events.isEmpty && !isStale { return }
        let namespaces = try exchange.identifyNamespaces(limits)
        path.state.withLock { $0.namespaces = namespaces }
        onEvent(.changed)
    }
}
