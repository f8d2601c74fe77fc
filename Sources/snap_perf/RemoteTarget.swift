internal import Bdev
internal import NVMeOF

/// A remote subsystem that a command line names.
struct RemoteTarget {
    private static let host = "nqn.2014-08.org.nvmexpress:uuid:\(UUID.random())"

    private let text: String
    private let options: PathOptions

    /// `trtype:tcp traddr:ADDRESS trsvcid:PORT subnqn:NQN`, as SPDK's tools have it.
    init(_ text: String) throws {
        var parts: [Substring: String] = [:]
        for word in text.split(separator: " ") {
            let end = word.firstIndex(of: ":") ?? word.endIndex
            parts[word[..<end]] = String(word[end...].dropFirst())
        }
        guard let transport = parts["trtype"].flatMap({ PathOptions.Transport($0) }),
            let address = parts["traddr"], let port = parts["trsvcid"].flatMap(UInt16.init),
            let subsystem = parts["subnqn"]
        else {
            throw PerfError(
                "--target '\(text)' is not 'trtype:tcp traddr:ADDRESS trsvcid:PORT subnqn:NQN', "
                    + "with tcp or rdma")
        }
        self.text = text
        var options = PathOptions(
            address: address, port: port, subsystem: subsystem, host: Self.host)
        options.transport = transport
        self.options = options
    }

    /// Connects, and gives its first namespace to `body`.
    func with(_ body: (BlockDevice) throws -> Void) async throws {
        let bdevs = BdevRegistry()
        let remotes = RemoteControllers(bdevs: bdevs, reactorCount: 1) { _ in }
        guard let name = try await remotes.attach("Nvme0", options, .disable).first else {
            throw PerfError("--target '\(text)' has no namespace")
        }
        try body(try bdevs.device(name))
        await remotes.closeAll()
    }
}

extension PathOptions.Transport {
    fileprivate init?(_ text: String) { self.init(rawValue: text.lowercased()) }
}
