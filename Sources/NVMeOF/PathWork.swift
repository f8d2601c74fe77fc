internal import Synchronization

/// What I/O queues have done, and what that cost. Every count only grows; `-` gives what was done
/// in between.
public struct PathWork: Equatable, Sendable {
    /// Commands that were started.
    public var commands: UInt64 = 0
    /// Bytes of data that went from and to the memory of requests.
    public var direct: UInt64 = 0
    /// Bytes of data that went through a buffer.
    public var staged: UInt64 = 0
    /// RDMA: requests that the device was given, sends and receives.
    public var workRequests: UInt64 = 0
    /// RDMA: calls that told the device of them.
    public var doorbells: UInt64 = 0
    /// Looks for what has come that found something: polls of a completion queue, or recvmsg(2).
    public var polls: UInt64 = 0
    /// Those that found nothing. How many there are is a matter of time.
    public var idlePolls: UInt64 = 0
    /// System calls that were made here, those of `polls` and `idlePolls` among them; not those of
    /// a device's library.
    public var systemCalls: UInt64 = 0
    /// TCP: sends from the memory of requests, without a copy in the kernel.
    public var pinnedSends: UInt64 = 0
    /// Of those: the kernel has made a copy after all.
    public var copiedSends: UInt64 = 0

    /// Whether nothing was done but to look.
    var isIdle: Bool {
        commands == 0 && direct == 0 && staged == 0 && workRequests == 0 && polls == 0
            && pinnedSends == 0 && copiedSends == 0
    }

    static func + (left: PathWork, right: PathWork) -> PathWork {
        left.joined(right, &+)
    }

    static func - (left: PathWork, right: PathWork) -> PathWork {
        left.joined(right, &-)
    }

    private func joined(_ other: PathWork, _ join: (UInt64, UInt64) -> UInt64) -> PathWork {
        PathWork(
            commands: join(commands, other.commands), direct: join(direct, other.direct),
            staged: join(staged, other.staged),
            workRequests: join(workRequests, other.workRequests),
            doorbells: join(doorbells, other.doorbells), polls: join(polls, other.polls),
            idlePolls: join(idlePolls, other.idlePolls),
            systemCalls: join(systemCalls, other.systemCalls),
            pinnedSends: join(pinnedSends, other.pinnedSends),
            copiedSends: join(copiedSends, other.copiedSends))
    }
}

/// The work of queues one after another, as the one thread that does it says.
final class WorkCounters: Sendable {
    private let commands = Atomic<UInt64>(0)
    private let direct = Atomic<UInt64>(0)
    private let staged = Atomic<UInt64>(0)
    private let workRequests = Atomic<UInt64>(0)
    private let doorbells = Atomic<UInt64>(0)
    private let polls = Atomic<UInt64>(0)
    private let idlePolls = Atomic<UInt64>(0)
    private let systemCalls = Atomic<UInt64>(0)
    private let pinnedSends = Atomic<UInt64>(0)
    private let copiedSends = Atomic<UInt64>(0)

    func add(_ done: PathWork) {
        WorkCounters.add(done.commands, to: commands)
        WorkCounters.add(done.direct, to: direct)
        WorkCounters.add(done.staged, to: staged)
        WorkCounters.add(done.workRequests, to: workRequests)
        WorkCounters.add(done.doorbells, to: doorbells)
        WorkCounters.add(done.polls, to: polls)
        WorkCounters.add(done.idlePolls, to: idlePolls)
        WorkCounters.add(done.systemCalls, to: systemCalls)
        WorkCounters.add(done.pinnedSends, to: pinnedSends)
        WorkCounters.add(done.copiedSends, to: copiedSends)
    }

    var total: PathWork {
        PathWork(
            commands: commands.load(ordering: .relaxed), direct: direct.load(ordering: .relaxed),
            staged: staged.load(ordering: .relaxed),
            workRequests: workRequests.load(ordering: .relaxed),
            doorbells: doorbells.load(ordering: .relaxed), polls: polls.load(ordering: .relaxed),
            idlePolls: idlePolls.load(ordering: .relaxed),
            systemCalls: systemCalls.load(ordering: .relaxed),
            pinnedSends: pinnedSends.load(ordering: .relaxed),
            copiedSends: copiedSends.load(ordering: .relaxed))
    }

    private static func add(_ count: UInt64, to counter: borrowing Atomic<UInt64>) {
        if count > 0 { counter.add(count, ordering: .relaxed) }
    }
}
