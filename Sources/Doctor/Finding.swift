public import JSONRPC

/// What one check found, and what to do about it.
public struct Finding: Sendable, Equatable, CustomStringConvertible {
    public enum Status: String, Sendable {
        case pass
        /// Something works less well, or not at all for some uses.
        case warn
        /// Nothing useful works until it is cured.
        case fail
    }

    public let status: Status
    public let name: String
    public let finding: String
    /// A command, or a sentence; nil when nothing is to do.
    public let cure: String?

    init(_ status: Status, _ name: String, _ finding: String, cure: String? = nil) {
        self.status = status
        self.name = name
        self.finding = finding
        self.cure = cure
    }

    /// `warn huge-pages: none are set aside; sysctl -w vm.nr_hugepages=1024`
    public var description: String {
        "\(status.rawValue) \(name): \(finding)" + (cure.map { "; \($0)" } ?? "")
    }

    public var json: JSONValue {
        [
            "name": .string(name), "status": .string(status.rawValue),
            "finding": .string(finding), "cure": cure.map(JSONValue.string) ?? .null,
        ]
    }
}
