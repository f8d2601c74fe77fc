internal import Platform

/// How long a target may take for a command of a reactor, and what follows then: timeout_us and
/// action_on_timeout of bdev_nvme_set_options.
public struct CommandTimeout: Equatable, Sendable {
    public enum Action: String, Sendable {
        case none
        /// The path's connections end and are made again, and what was lost is sent again.
        case reset
        /// The target is asked to abort the command, which is sent again then. Where that does not
        /// help in the same time again, or the target grants too few queues: as `reset`.
        case abort
    }

    /// 0: as long as it likes.
    public var microseconds: UInt64 = 0
    public var action = Action.none

    public init() {}
}

/// When an I/O queue looks for commands that take too long.
struct CommandTimer {
    private static let longest: UInt64 = 86_400_000_000
    /// In ticks; nil: they may take any time.
    private let limit: UInt64?
    let aborts: Bool
    /// The next look.
    private(set) var due = Ticks(0)

    init(_ timeout: CommandTimeout) {
        let isUsed = timeout.action != .none && timeout.microseconds > 0
        let nanoseconds = min(timeout.microseconds, CommandTimer.longest) * 1000
        limit = isUsed ? Ticks.from(nanoseconds: nanoseconds) : nil
        aborts = timeout.action == .abort
    }

    /// When there is something to look for.
    var wakeTime: Ticks? { limit == nil ? nil : due }

    /// Whether to look now. The next look is an eighth of the limit later.
    mutating func isDue(now: Ticks) -> Bool {
        guard let limit, now >= due else { return false }
        due = now.advanced(by: limit / 8)
        return true
    }

    func isOver(since start: Ticks, now: Ticks) -> Bool {
        guard let limit else { return false }
        return now.since(start) >= limit
    }
}
