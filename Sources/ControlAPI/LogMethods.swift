internal import JSONRPC
internal import Logging
internal import Synchronization

extension MethodRegistry {
    /// Registers log_* and snap_log_level_set over `thresholds`.
    public func registerLog(_ thresholds: LogThresholds) {
        registerLevel("level", thresholds, \.log)
        registerLevel("print_level", thresholds, \.print)
        register("snap_log_level_set") { parameters in
            let levels: [Logger.Level] = [.critical, .error, .warning, .info, .debug, .trace]
            thresholds.setLevel(levels[Int(parameters.unsigned("level"))])
            return true
        }
        registerFlags("log_set_flag", thresholds, true)
        registerFlags("log_clear_flag", thresholds, false)
        register("log_get_flags") { _ in
            let flags = thresholds.state.withLock { $0.flags }.sorted { $0.key < $1.key }
            return .object(JSONObject(flags.map { (key: $0.key, value: .bool($0.value)) }))
        }
        register("log_enable_timestamps") { parameters in
            let isOn = parameters.flag("enabled")
            thresholds.state.withLock { $0.hasTimestamps = isOn }
            return true
        }
    }

    private func registerLevel(
        _ name: String, _ thresholds: LogThresholds,
        _ path: any WritableKeyPath<LogThresholds.State, Logger.Level> & Sendable
    ) {
        register("log_get_" + name) { _ in
            .string(MethodRegistry.word(thresholds.state.withLock { $0[keyPath: path] }))
        }
        register("log_set_" + name) { parameters in
            let level = MethodRegistry.level(parameters.string("level"))
            thresholds.state.withLock { $0[keyPath: path] = level }
            return true
        }
    }

    private func registerFlags(_ name: String, _ thresholds: LogThresholds, _ isOn: Bool) {
        register(name) { parameters in
            guard thresholds.setFlags(parameters.string("flag"), isOn) else {
                throw RPCError.invalidParameters("invalid log flag")
            }
            return true
        }
    }

    private static func level(_ word: String) -> Logger.Level {
        switch word {
        case "ERROR": .error
        case "WARNING": .warning
        case "NOTICE": .notice
        case "INFO": .info
        default: .debug
        }
    }

    /// SPDK's word for a level, the nearest where it has none.
    private static func word(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "DEBUG"
        case .info: "INFO"
        case .notice: "NOTICE"
        case .warning: "WARNING"
        case .error, .critical: "ERROR"
        }
    }
}
