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
    /// The sockets of I/O queues, by berth.
    private var seats: [SharedDescriptor] = []
    /// Since when requests may wait; nil while the path works.
    private var lostAt: UInt64?

    init(_ path: RemotePath, _ onEvent: @escaping @Sendable (RemotePath.Event) -> Void) {
        self.path = path
        self.onEvent = onEvent
        timers = path.options.timers
    }

    func run() {
        if let fault = establish() { return path.tellWaiters(fault) }
        while true {
            let fault = serve()
            disconnect()
            if isClosing { return }
            lostAt = Clock.monotonicNanoseconds()
            if fault != .interrupted { onEvent(.lost(fault)) }
            if !reestablish() { return }
        }
    }

    private var isClosing: Bool { path.state.withLock { $0.isClosing } }

    private func nanoseconds(_ seconds: UInt64) -> UInt64 { seconds * 1_000_000_000 }

    // MARK: Connecting again

    /// - Returns: false when the path is closed, or given up.
    private func reestablish() -> Bool {
        while true {
            path.enter(.resetting)
            let attempt = establish()
            guard let fault = attempt else { return true }
            path.tellWaiters(fault)
            if isClosing { return false }
            if timers.controllerLossSeconds == 0 {
                path.enter(.failed)
                path.failsRequests = true
                rest(until: .max)
            } else if hasLostController {
                path.enter(.failed)
                path.failsRequests = true
                onEvent(.gone(fault))
                while !isClosing { rest(until: .max) }
            } else {
                path.enter(.delayed)
                rest(
                    until: Clock.monotonicNanoseconds()
                        + nanoseconds(timers.reconnectDelaySeconds))
            }
            if isClosing { return false }
        }
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
        let exchange = try makeExchange(depth: Int(CommandExchange.adminEntries) - 1)
        self.exchange = exchange
        let id = try exchange.connect(
            queueID: 0, entries: CommandExchange.adminEntries,
            controller: UInt16(NVME_CONNECT_ANY_CONTROLLER), options)
        let (entries, version) = try exchange.enable()
        entryLimit = max(2, entries)
        limits = try exchange.identifyController(version: version)
        limits.facts.id = id
        try exchange.configureEvents(limits.events)
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
        try seatBerths()
    }

    private func makeExchange(depth: Int) throws(PathFault) -> CommandExchange {
        try CommandExchange(path.options, depth: depth, bell: path.bell.number) {
            [unowned self] () throws(PathFault) in try attend()
        }
    }

    /// Connects an I/O queue for every berth that has none.
    private func seatBerths() throws(PathFault) {
        let (berths, granted) = path.state.withLock { ($0.berths, $0.grantedQueues) }
        while seats.count < berths.count {
            let number = seats.count + 1
            if number > granted {
                throw PathFault(
                    ErrorNumber.noSpace,
                    "the target grants \(granted) I/O queues, and \(berths.count) reactors need "
                        + "one each; raise its limit or start the service with fewer cores")
            }
            let entries = min(UInt16(clamping: path.options.queueEntries), entryLimit)
            let depth = min(Int(entries) - 1, limits.commandCount ?? .max)
            let exchange = try makeExchange(depth: max(1, depth))
            _ = try exchange.connect(
                queueID: UInt16(number), entries: entries, controller: limits.facts.id,
                path.options)
            let connection = exchange.connection
            connection.queue.capsuleDataByteCount = limits.capsuleDataByteCount
            seats.append(connection.socket)
            berths[number - 1].give(connection)
        }
    }

    private func disconnect() {
        // Reactors see the end of theirs by this.
        for seat in seats { UnixSocket.shutDown(seat.number) }
        seats = []
        exchange = nil
    }

    // MARK: Serving

    /// Keeps the path alive until it is lost, reset or closed.
    private func serve() -> PathFault {
        guard let exchange else { return .interrupted }
        let period = timers.keepAliveMilliseconds * 500_000
        var due = period == 0 ? UInt64.max : Clock.monotonicNanoseconds() + period
        do throws(PathFault) {
            while true {
                try seatBerths()
                try checkBerths()
                try follow(exchange)
                if Clock.monotonicNanoseconds() >= due {
                    try exchange.keepAlive()
                    due = Clock.monotonicNanoseconds() + period
                }
                try exchange.wait(until: due)
            }
        } catch {
            return error
        }
    }

    private func checkBerths() throws(PathFault) {
        for berth in path.state.withLock({ $0.berths }) {
            if let fault = berth.endedBy { throw PathFault(fault) }
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
