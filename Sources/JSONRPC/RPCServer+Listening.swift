internal import NIOCore
internal import NIOPosix
internal import Platform

extension RPCServer {
    /// The lock comes before anything at the path is touched: whoever holds it owns the socket.
    static func takeLock(of path: String) throws(RPCServerError) -> FileLock {
        if path.utf8.count > Limit.unixPathByteCount { throw .pathTooLong(path: path) }
        do throws(SystemError) {
            return try FileLock(path: path + ".lock")
        } catch {
            throw error.code == ErrorNumber.again ? .inUse(path: path) : .lock(error)
        }
    }

    func listen(
        _ unixPath: String, _ tcp: TCPAddress?, _ dispatch: @escaping RPCDispatcher
    ) async throws(RPCServerError) {
        let bootstrap = bootstrap(dispatch)
        do {
            listeners.append(
                try await bootstrap.bind(
                    unixDomainSocketPath: unixPath, cleanupExistingSocketFile: true
                ).get())
        } catch is UnixDomainSocketPathWrongType {
            throw .notASocket(path: unixPath)
        } catch {
            throw .listen(address: unixPath, reason: "\(error)")
        }
        guard let tcp else { return }
        do {
            listeners.append(try await bootstrap.bind(host: tcp.host, port: tcp.port).get())
        } catch {
            throw .listen(address: "\(tcp.host):\(tcp.port)", reason: "\(error)")
        }
    }

    private func bootstrap(_ dispatch: @escaping RPCDispatcher) -> ServerBootstrap {
        let connections = self.connections
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 512)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.autoRead, value: false)
            .serverChannelOption(.maxMessagesPerRead, value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RPCAdmission(connections.value))
                }
            }
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .writeBufferWaterMark,
                value: .init(low: Limit.unsent.lowerBound, high: Limit.unsent.upperBound)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        RPCConnection(connections.value, dispatch))
                }
            }
    }

    static func value<Value>(of future: EventLoopFuture<Value>) async -> Value
    where Value: Sendable {
        do { return try await future.get() } catch { preconditionFailure("\(error)") }
    }
}
