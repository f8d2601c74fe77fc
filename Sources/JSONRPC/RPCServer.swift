internal import NIOCore
internal import NIOPosix
internal import Platform

/// Answers one request. It runs on the server's thread until its first real suspension, so that
/// the requests of one connection start in their order; it must not block there.
public typealias RPCDispatcher =
    nonisolated(nonsending) @Sendable (RPCRequest) async throws(RPCError) -> JSONValue

/// Serves JSON-RPC on a Unix socket and, when asked, on TCP.
///
/// One thread reads and writes all connections; none of them waits for another's client or
/// handler. Two files belong to it: the socket, and `<path>.lock`, locked for as long as it lives.
public actor RPCServer {
    public enum Limit {
        /// Connections served at a time; the next one waits unread until one of them closes.
        public static let connections = 64
        /// Requests of one connection that run at a time. A batch is started whole.
        public static let outstanding = 64
        /// Bytes of one answer.
        public static let responseByteCount = 32 * 1024 * 1024
        /// Answers that wait for one client before its requests are left unread.
        static let unsent = 64 * 1024...1024 * 1024
        static let unixPathByteCount = 107
    }

    /// An address of the TCP listener: `127.0.0.1`, 5260.
    public struct TCPAddress: Sendable {
        public let host: String
        public let port: Int

        public init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        /// Whether only this machine can reach it.
        public var isLoopback: Bool {
            host == "localhost" || host == "::1" || host.hasPrefix("127.")
        }
    }

    private let path: String
    private var lock: FileLock?
    let group: MultiThreadedEventLoopGroup
    let connections: NIOLoopBound<RPCConnections>
    var listeners: [any Channel] = []

    /// Listens on `unixPath`, replacing a socket that nobody has locked, and on `tcp`.
    public static func start(
        unixPath: String, tcp: TCPAddress? = nil, dispatch: @escaping RPCDispatcher
    ) async throws(RPCServerError) -> RPCServer {
        let lock = try takeLock(of: unixPath)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let connections = loop.submit { NIOLoopBound(RPCConnections(), eventLoop: loop) }
        let server = RPCServer(unixPath, lock, group, await RPCServer.value(of: connections))
        do throws(RPCServerError) {
            try await server.listen(unixPath, tcp, dispatch)
        } catch {
            await server.close(grace: 0)
            throw error
        }
        return server
    }

    private init(
        _ path: String, _ lock: consuming FileLock, _ group: MultiThreadedEventLoopGroup,
        _ connections: NIOLoopBound<RPCConnections>
    ) {
        self.path = path
        self.lock = consume lock
        self.group = group
        self.connections = connections
    }

    /// The port of the TCP listener, for an address that left the choice to the system.
    public var tcpPort: Int? { listeners.lazy.compactMap { $0.localAddress?.port }.first }

    /// Stops listening, answers what is running for up to `grace` seconds, then closes the rest
    /// and removes both files. Handlers are never cancelled. A second call does nothing.
    public func close(grace: Int = 5) async {
        guard let lock = self.lock.take() else { return }
        let listeners = self.listeners
        self.listeners = []
        for listener in listeners { try? await listener.close() }
        let connections = self.connections
        let loop = group.next()
        let drained = loop.flatSubmit {
            connections.value.drain(within: .seconds(Int64(grace)), on: loop)
        }
        try? await drained.get()
        try? await group.shutdownGracefully()
        try? FileSystem.remove(path + ".lock")
        _ = consume lock
    }
}
