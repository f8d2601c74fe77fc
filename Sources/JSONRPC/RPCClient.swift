internal import NIOCore
internal import NIOPosix

/// One connection to a service. Calls may overlap; answers are matched by their ids.
public final class RPCClient: Sendable {
    /// Why a call has no result.
    public enum Failure: Error, Equatable, CustomStringConvertible {
        case unreachable(path: String, reason: String)
        /// The service answered with an error.
        case refused(RPCError)
        /// No answer came in time. The service may still carry the call out.
        case timedOut(method: String)
        /// The connection ended first.
        case closed
        /// What came is no JSON, or no answer.
        case malformed(String)

        public var description: String {
            switch self {
            case .unreachable(let path, let reason): "cannot connect to \(path): \(reason)"
            case .refused(let error): "\(error)"
            case .timedOut(let method): "\(method) was not answered in time"
            case .closed: "the service closed the connection"
            case .malformed(let text): "the service answered nonsense: \(text)"
            }
        }
    }

    private let channel: any Channel
    private let answers: NIOLoopBound<RPCAnswers>

    private init(_ channel: any Channel, _ answers: NIOLoopBound<RPCAnswers>) {
        self.channel = channel
        self.answers = answers
    }

    /// Connects to the service that listens on `unixPath`.
    public static func connect(unixPath: String) async throws(Failure) -> RPCClient {
        try await open(path: unixPath) { bootstrap in
            try await bootstrap.connect(unixDomainSocketPath: unixPath).get()
        }
    }

    /// Speaks over a connected stream socket, which it takes.
    public static func adopt(_ socket: Int32) async throws(Failure) -> RPCClient {
        try await open(path: "socket \(socket)") { bootstrap in
            try await bootstrap.withConnectedSocket(socket).get()
        }
    }

    private static func open(
        path: String, _ connect: @Sendable (ClientBootstrap) async throws -> any Channel
    ) async throws(Failure) -> RPCClient {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        do {
            let answers = try await loop.submit {
                NIOLoopBound(RPCAnswers(), eventLoop: loop)
            }.get()
            let bootstrap = ClientBootstrap(group: loop).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(answers.value)
                }
            }
            return RPCClient(try await connect(bootstrap), answers)
        } catch {
            throw .unreachable(path: path, reason: "\(error)")
        }
    }

    /// Calls `method` and waits for its result.
    public func call(
        _ method: String, _ params: JSONObject? = nil, timeoutSeconds: Int = 60
    ) async throws(Failure) -> JSONValue {
        let loop = channel.eventLoop
        let answered = loop.flatSubmit { [channel, answers] in
            let (id, answer) = answers.value.expect(on: loop)
            var request: JSONObject = [
                "jsonrpc": "2.0", "method": .string(method), "id": JSONValue(id),
            ]
            if let params { request.append("params", .object(params)) }
            let bytes = JSONValue.object(request).encoded()
            channel.writeAndFlush(ByteBuffer(bytes: bytes)).assumeIsolated().whenFailure { _ in
                answers.value.fail(id, .closed)
            }
            let timer = loop.assumeIsolated().scheduleTask(in: .seconds(Int64(timeoutSeconds))) {
                answers.value.fail(id, .timedOut(method: method))
            }
            answer.whenComplete { _ in timer.cancel() }
            return answer
        }
        do {
            return try await answered.get()
        } catch {
            throw error as? Failure ?? .closed
        }
    }

    /// Ends the connection; calls that wait fail with `.closed`.
    public func close() async { try? await channel.close() }
}
