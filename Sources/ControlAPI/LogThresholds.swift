public import Logging
internal import Synchronization

/// What is logged, changed at any time by log_* and snap_log_level_set.
///
/// SPDK has two thresholds: `print` is that of standard error, where this service logs. `log` is
/// that of syslog, which this service does not use; it is kept for clients that read it back.
public final class LogThresholds: Sendable {
    struct State {
        var log = Logger.Level.notice
        var print = Logger.Level.info
        var hasTimestamps = true
        /// Components, and whether they log for debugging.
        var flags: [String: Bool]
    }

    let state: Mutex<State>

    /// - Parameter components: labels of loggers that can be debugged one by one.
    public init(components: [String]) {
        state = Mutex(
            State(flags: Dictionary(components.map { ($0, false) }) { first, _ in first }))
    }

    /// The threshold of the logger called `label`.
    public func level(of label: String) -> Logger.Level {
        state.withLock { state in
            state.flags[label] == true ? min(.debug, state.print) : state.print
        }
    }

    public func setLevel(_ level: Logger.Level) { state.withLock { $0.print = level } }

    public var hasTimestamps: Bool { state.withLock { $0.hasTimestamps } }

    /// Turns the flags that `pattern` matches on or off: a name, `all`, or `*` and `?` within.
    /// - Returns: whether there was one.
    func setFlags(_ pattern: String, _ isOn: Bool) -> Bool {
        state.withLock { state in
            let names = state.flags.keys.filter { name in
                pattern.lowercased() == "all"
                    || LogThresholds.matches(Array(name.utf8)[...], Array(pattern.utf8)[...])
            }
            for name in names { state.flags[name] = isOn }
            return !names.isEmpty
        }
    }

    /// fnmatch(3) with `*` and `?`. Names are short and ours, so the backtracking is bounded by
    /// the length of a name times that of the pattern.
    static func matches(_ name: ArraySlice<UInt8>, _ pattern: ArraySlice<UInt8>) -> Bool {
        var reachable: Set<Int> = [name.startIndex]
        for part in pattern {
            if part == UInt8(ascii: "*") {
                guard let first = reachable.min() else { return false }
                reachable = Set(first...name.endIndex)
            } else {
                reachable = Set(
                    reachable.filter { index in
                        index < name.endIndex && (part == UInt8(ascii: "?") || name[index] == part)
                    }.map { $0 + 1 })
            }
        }
        return reachable.contains(name.endIndex)
    }
}
