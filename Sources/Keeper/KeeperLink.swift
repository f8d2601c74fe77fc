public import Platform

/// A client's end of its keeper. What was sent is kept, even when the client is killed right after:
/// the kernel delivers it.
public struct KeeperLink: Sendable {
    /// Closed by the keeper: readable.
    public let socket: SharedDescriptor

    /// ECONNREFUSED, ENOENT: there is no keeper at `path`.
    public init(path: String) throws(SystemError) {
        socket = SharedDescriptor(try UnixSocket.connect(to: path, .packet))
    }

    /// Starts `program` as the keeper that listens at `path`: with the listening socket as its
    /// descriptor 3, and `arguments`.
    /// - Returns: the link, and the keeper's process identifier.
    public static func start(
        _ program: String, _ arguments: [String], at path: String
    ) throws(SystemError) -> (link: KeeperLink, process: Int32) {
        if FileSystem.exists(path) { try FileSystem.remove(path) }
        let listener = try UnixSocket.listen(at: path, .packet)
        try FileSystem.setMode(path, 0o600)
        let process = try ChildProcess.startDetached(program, arguments, passing: listener)
        return (try KeeperLink(path: path), process)
    }

    /// Everything that is kept, by number. ETIMEDOUT: the keeper does not answer within 10 s.
    public func list() throws(SystemError) -> [UInt64: SharedDescriptor] {
        var files: [UInt64: SharedDescriptor] = [:]
        guard KeeperMessage(.list).send(to: socket.number) else { throw Self.gone }
        while true {
            let part = try UnixSocket.receive(upTo: KeeperMessage.byteCount, from: socket.number)
            guard let part else {
                if UnixSocket.waitReadable(socket.number, milliseconds: 10_000) { continue }
                throw SystemError("keeper", code: ErrorNumber.timedOut)
            }
            guard let message = KeeperMessage(part) else { throw Self.gone }
            switch message.operation {
            case .entry: files[message.number] = message.file
            case .end where message.number == UInt64(files.count): return files
            default: throw Self.gone
            }
        }
    }

    private static let gone = SystemError("keeper", code: ErrorNumber.pipe)

    /// False: the keeper is gone.
    public func put(_ file: SharedDescriptor, as number: UInt64) -> Bool {
        KeeperMessage(.put, number: number, file: file).send(to: socket.number)
    }

    public func delete(_ number: UInt64) -> Bool {
        KeeperMessage(.delete, number: number).send(to: socket.number)
    }

    /// Has the keeper let go of everything and end.
    public func leave() { _ = KeeperMessage(.leave).send(to: socket.number) }
}
