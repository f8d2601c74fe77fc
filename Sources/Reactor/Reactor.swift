internal import Bounded
public import Platform
internal import Synchronization

/// One pinned thread, sole owner of its pollers. It polls while there is work, sleeps on their
/// events when there is none, and takes control-plane work from its mailbox.
public final class Reactor: Sendable {
    public struct Options: Sendable {
        /// How long a poller may find nothing before it is armed and left alone.
        public var patienceNanoseconds: UInt64 = 30_000
        /// Poll for ever: lowest latency, one core burnt.
        public var neverSleeps = false

        public init() {}
    }

    /// The processor it is pinned to.
    public let core: Int
    public let options: Options
    /// Where its pollers raise interrupts.
    public let signals = SignalGate()
    let epoll: Epoll
    private let mailbox = Mailbox<ReactorContext>()
    private let isAsleep = Atomic<Bool>(false)
    private let isStopping = Atomic<Bool>(false)
    private let bell: FileDescriptor
    private let busyTicks = Atomic<UInt64>(0)
    private let idleTicks = Atomic<UInt64>(0)
    private let threadNumber = Atomic<Int32>(0)
    private let thread = Mutex<Thread?>(nil)

    /// Starts the thread. Fails when `core` is not one that the process may use.
    public init(core: Int, options: Options = Options()) throws(SystemError) {
        guard Processors.isUsable(core) else {
            throw SystemError("pin to core \(core)", code: ErrorNumber.invalid)
        }
        self.core = core
        self.options = options
        bell = try EventDescriptor.create()
        epoll = try Epoll()
        try epoll.add(bell.number, .edge, token: WakeToken.bell)
        let started = try Thread(name: "reactor_\(core)") { [self] in
            threadNumber.store(Thread.currentID, ordering: .relaxed)
            // A reactor that cannot be pinned still works; `isUsable` has said that it can be.
            try? Thread.pin(to: core)
            var loop = ReactorLoop(context: ReactorContext(reactor: self))
            loop.run()
        }
        thread.withLock { $0 = started }
    }

    /// The kernel's id of its thread.
    public var threadID: Int32 { threadNumber.load(ordering: .relaxed) }

    /// Ticks spent on turns that found work, and on those that found none.
    public var load: (busyTicks: UInt64, idleTicks: UInt64) {
        (busyTicks.load(ordering: .relaxed), idleTicks.load(ordering: .relaxed))
    }

    /// Has `work` run on the reactor's thread.
    public func post(_ work: @escaping @Sendable (ReactorContext) -> Void) {
        mailbox.post(work)
        // Pairs with the loop's store of `isAsleep` before its last look into the mailbox.
        if isAsleep.load(ordering: .sequentiallyConsistent) { EventDescriptor.signal(bell.number) }
    }

    /// Has `work` run on the reactor's thread and waits for its result.
    public func run<Result: Sendable>(
        _ work: @escaping @Sendable (ReactorContext) -> Result
    ) async -> Result {
        await withCheckedContinuation { continuation in
            post { context in continuation.resume(returning: work(context)) }
        }
    }

    /// Ends the loop after its present turn and waits for the thread.
    public func stop() {
        isStopping.store(true, ordering: .sequentiallyConsistent)
        EventDescriptor.signal(bell.number)
        thread.withLock { $0.take() }?.join()
    }

    // --- for the loop ---

    var hasMail: Bool { !mailbox.isEmpty }
    var shouldStop: Bool { isStopping.load(ordering: .relaxed) }

    func deliverMail(_ context: ReactorContext) { mailbox.drain(context) }

    /// Says that the loop is about to sleep, or no longer. Pairs with the load in `post`.
    func setAsleep(_ asleep: Bool) {
        isAsleep.store(asleep, ordering: .sequentiallyConsistent)
    }

    func account(busy: UInt64, idle: UInt64) {
        if busy > 0 { busyTicks.add(busy, ordering: .relaxed) }
        if idle > 0 { idleTicks.add(idle, ordering: .relaxed) }
    }
}
