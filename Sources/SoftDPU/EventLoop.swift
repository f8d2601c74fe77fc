internal import Bounded
internal import Platform
internal import Synchronization

/// A thread that waits for descriptors and runs their handlers. Everything registered is confined
/// to it.
final class EventLoop: Sendable {
    /// What the loop's thread owns.
    final class Context {
        fileprivate var handlers: [UInt64: () -> Void] = [:]
        fileprivate var nextToken: UInt64 = 1
        let loop: EventLoop

        fileprivate init(_ loop: EventLoop) { self.loop = loop }

        /// Calls `handler` while `descriptor` is ready for what is asked.
        func add(
            _ descriptor: Int32, _ interest: Epoll.Interest = .readable,
            _ handler: @escaping () -> Void
        ) throws(SystemError) -> UInt64 {
            let token = nextToken
            nextToken += 1
            try loop.epoll.add(descriptor, interest, token: token)
            handlers[token] = handler
            return token
        }

        func change(_ descriptor: Int32, _ interest: Epoll.Interest, token: UInt64) {
            try? loop.epoll.modify(descriptor, interest, token: token)
        }

        /// Keeps the descriptor without listening to it, until `change`.
        func pause(_ descriptor: Int32, token: UInt64) {
            change(descriptor, .nothing, token: token)
        }

        /// Forgets the descriptor, which is still open.
        func remove(_ descriptor: Int32, token: UInt64) {
            loop.epoll.remove(descriptor)
            handlers[token] = nil
        }
    }

    fileprivate let epoll: Epoll
    private let bell: FileDescriptor
    private let mailbox = Mailbox<Context>()
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)

    init(name: String) throws(SystemError) {
        epoll = try Epoll()
        bell = try EventDescriptor.create()
        try epoll.add(bell.number, .edge, token: 0)
        let started = try Thread(name: name) { [self] in run() }
        thread.withLock { $0 = started }
    }

    /// Has `work` run on the loop's thread.
    func post(_ work: @escaping @Sendable (Context) -> Void) {
        mailbox.post(work)
        EventDescriptor.signal(bell.number)
    }

    func stop() {
        isStopping.store(true, ordering: .sequentiallyConsistent)
        EventDescriptor.signal(bell.number)
        thread.withLock { $0.take() }?.join()
    }

    private func run() {
        let context = Context(self)
        while !isStopping.load(ordering: .relaxed) {
            mailbox.drain(context)
            for token in epoll.wait(nanoseconds: nil) where token != 0 {
                // An earlier handler of this round may have removed it.
                context.handlers[token]?()
            }
        }
        mailbox.drain(context)
    }
}
