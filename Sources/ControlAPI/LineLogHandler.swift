public import Logging
internal import Platform

/// Writes one line to standard error for each event: time, level, component, event, `key=value`.
///
/// The level of a logger is not its own: `LogThresholds` decides for all of them.
public struct LineLogHandler: LogHandler {
    public var metadata = Logger.Metadata()

    private let label: String
    private let thresholds: LogThresholds

    public init(label: String, thresholds: LogThresholds) {
        self.label = label
        self.thresholds = thresholds
    }

    public var logLevel: Logger.Level {
        get { thresholds.level(of: label) }
        // Kept by the thresholds, which RPCs change; a caller cannot.
        set {}
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        ProcessFacts.complain(line(event.level, event.message, event.metadata))
    }

    /// The line of one event; what is not printable in it becomes a space.
    public func line(
        _ level: Logger.Level, _ message: Logger.Message, _ extra: Logger.Metadata?
    ) -> String {
        let all = metadata.merging(extra ?? [:]) { $1 }
        let pairs = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }
        let time = thresholds.hasTimestamps ? "\(Clock.wallSeconds()) " : ""
        let text = "\(time)\(level) \(label): \(message)\(pairs.joined())"
        return String(String.UnicodeScalarView(text.unicodeScalars.map(LineLogHandler.printable)))
    }

    private static func printable(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: " "
        default: scalar
        }
    }
}
