internal import CWire
internal import Platform
internal import Synchronization

/// A discovery controller, on a thread of its own: kept alive, connected again when it is lost, and
/// asked for its log whenever that changes.
final class DiscoveryLink: Sendable {
    struct State {
        /// As last read whole; stays while the controller is lost.
        var log: DiscoveryLog?
        /// Why there is no newer log; nil when there is nothing wrong.
        var fault: PathFault?
        var isClosing = false
        var isRetryWanted = false
        var closers: [CheckedContinuation<Void, Never>] = []
        var hasEnded = false
    }

    let options: PathOptions
    let bell: SharedDescriptor
    private let state = Mutex(State())

    init(_ options: PathOptions) throws(SystemError) {
        self.options = options
        bell = SharedDescriptor(try EventDescriptor.create())
    }

    var log: DiscoveryLog? { state.withLock { $0.log } }
    var fault: PathFault? { state.withLock { $0.fault } }

    /// Starts the thread.
    /// - Parameter onChange: called on it when the log or the fault is another one, or was asked
    ///   for again.
    func open(_ onChange: @escaping @Sendable () -> Void) throws(SystemError) {
        _ = try Thread(name: "nvmeof_discovery") { [self] in
            DiscoveryThread(self, onChange).run()
            let closers = state.withLock { state in
                state.hasEnded = true
                defer { state.closers = [] }
                return state.closers
            }
            for closer in closers { closer.resume() }
        }
    }

    /// Disconnects and returns when the thread has ended.
    func close() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if state.hasEnded { return true }
                state.isClosing = true
                state.closers.append(continuation)
                return false
            }
            if hasEnded { return continuation.resume() }
            EventDescriptor.signal(bell.number)
        }
    }

    /// Has the log reported again in a while, although it may be the same.
    func retrySoon() {
        state.withLock { $0.isRetryWanted = true }
        EventDescriptor.signal(bell.number)
    }

    // MARK: The thread

    var isClosing: Bool { state.withLock { $0.isClosing } }
    var isRetryWanted: Bool { state.withLock { $0.isRetryWanted } }

    /// - Returns: whether somebody has to hear of it.
    func take(_ log: DiscoveryLog) -> Bool {
        state.withLock { state in
            let isNew = state.isRetryWanted || state.log != log || state.fault != nil
            state.log = log
            state.fault = nil
            state.isRetryWanted = false
            return isNew
        }
    }

    /// - Returns: whether it is another fault than before.
    func take(_ fault: PathFault) -> Bool {
        state.withLock { state in
            defer { state.fault = fault }
            return state.fault != fault
        }
    }
}

/// The thread of a discovery controller.
private final class DiscoveryThread {
    /// Between two reads of the log at least, whatever the target announces.
    private static let readGapNanoseconds: UInt64 = 200_000_000
    /// Until another attempt, after a failure.
    private static let retryNanoseconds: UInt64 = 1_000_000_000
    /// Between reads from a target that announces nothing.
    private static let pollNanoseconds: UInt64 = 30_000_000_000

    private let link: DiscoveryLink
    private let onChange: @Sendable () -> Void
    private let timers: PathTimers
    private var exchange: CommandExchange?
    private var announcesChanges = false
    private var isShuttingDown = false

    init(_ link: DiscoveryLink, _ onChange: @escaping @Sendable () -> Void) {
        self.link = link
        self.onChange = onChange
        timers = link.options.timers
    }

    func run() {
        while !link.isClosing {
            do throws(PathFault) {
                let exchange = try connect()
                self.exchange = exchange
                try follow(exchange)
            } catch {
                if link.isClosing { break }
                note(error)
            }
            exchange = nil
            rest()
        }
        isShuttingDown = true
        exchange?.shutDown(milliseconds: min(1_000, timers.patienceMilliseconds))
    }

    private func note(_ fault: PathFault) { if link.take(fault) { onChange() } }

    private func rest() {
        let end = Clock.monotonicNanoseconds() + DiscoveryThread.retryNanoseconds
        while !link.isClosing && Clock.monotonicNanoseconds() < end {
            if UnixSocket.waitReadable(link.bell.number, milliseconds: 50) {
                EventDescriptor.drain(link.bell.number)
            }
        }
    }

    private func connect() throws(PathFault) -> CommandExchange {
        let exchange = try CommandExchange(
            link.options, .admin, bell: link.bell.number
        ) { [unowned self] () throws(PathFault) in
            if link.isClosing && !isShuttingDown { throw .interrupted }
        }
        _ = try exchange.connect(link.options)
        let (_, version) = try exchange.enable(isDiscovery: true)
        let events = try exchange.identifyController(version: version).events
        announcesChanges = events & NVME_OAES_DISCOVERY_CHANGE != 0
        try exchange.configureEvents(events & NVME_OAES_DISCOVERY_CHANGE)
        exchange.requestEvent()
        return exchange
    }

    /// Reads the log whenever that is due, until the connection is lost.
    private func follow(_ exchange: CommandExchange) throws(PathFault) {
        var readDue: UInt64 = 0
        var lastRead: UInt64 = 0
        var announced = 0
        while true {
            let now = Clock.monotonicNanoseconds()
            if now >= readDue {
                for _ in 0..<announced { exchange.requestEvent() }
                announced = 0
                lastRead = now
                readDue = try read(exchange)
            }
            try exchange.keepAliveIfDue()
            if link.isRetryWanted {
                readDue = min(readDue, lastRead + DiscoveryThread.retryNanoseconds)
            }
            // An event may have come while an answer was waited for.
            let events = exchange.takeEvents().count
            if events > 0 {
                announced += events
                readDue = min(readDue, lastRead + DiscoveryThread.readGapNanoseconds)
            }
            try exchange.wait(until: min(readDue, exchange.keepAliveDue))
        }
    }

    /// - Returns: when to read it again, if nothing is announced before.
    private func read(_ exchange: CommandExchange) throws(PathFault) -> UInt64 {
        do throws(PathFault) {
            if link.take(try exchange.readDiscoveryLog()) { onChange() }
        } catch {
            let isOfTheLog = [
                ErrorNumber.again, ErrorNumber.messageSize, ErrorNumber.notSupported,
            ].contains(error.code)
            if !isOfTheLog { throw error }
            note(error)
            return Clock.monotonicNanoseconds() + DiscoveryThread.retryNanoseconds
        }
        return announcesChanges
            ? .max : Clock.monotonicNanoseconds() + DiscoveryThread.pollNanoseconds
    }
}
