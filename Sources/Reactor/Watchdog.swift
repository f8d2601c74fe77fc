public import Platform
internal import Synchronization

/// Frees reactors that hang in a signal write (design, "Host memory is not ours"): looks twenty
/// times a second, and again after 10 ms when it has seen one writing.
public final class Watchdog: Sendable {
    private static let periodNanoseconds: UInt64 = 10_000_000

    private let reactors: [Reactor]
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)

    public init(_ reactors: [Reactor]) throws(SystemError) {
        self.reactors = reactors
        let started = try Thread(name: "watchdog") { [self] in run() }
        thread.withLock { $0 = started }
    }

    public func stop() {
        isStopping.store(true, ordering: .relaxed)
        thread.withLock { $0.take() }?.join()
    }

    private func run() {
        var seen = [UInt64?](repeating: nil, count: reactors.count)
        while !isStopping.load(ordering: .relaxed) {
            let isSuspicious = seen.contains { $0 != nil }
            Clock.sleep(nanoseconds: Watchdog.periodNanoseconds * (isSuspicious ? 1 : 5))
            for (index, reactor) in reactors.enumerated() {
                let write = reactor.signals.writeUnderWay
                if let write, write == seen[index] { reactor.signals.free(write) }
                seen[index] = write
            }
        }
    }
}
