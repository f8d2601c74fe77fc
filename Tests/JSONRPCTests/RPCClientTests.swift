import JSONRPC
import NIOCore
import NIOPosix
import Platform
import Testing

@Suite(.timeLimit(.minutes(5))) struct `RPC client` {
    @Test func `gets results and errors`() async throws {
        let server = try await TestServer()
        let client = try await RPCClient.connect(unixPath: server.path)
        #expect(try await client.call("echo", ["a": [1, "x"]]) == ["a": [1, "x"]])
        #expect(try await client.call("echo") == .null)
        #expect(try await client.call("big").string?.utf8.count == 1 << 16)
        let error = await #expect(throws: RPCClient.Failure.self) { try await client.call("fail") }
        #expect(error == .refused(.errno(ErrorNumber.noDevice)))
        await client.close()
        await server.server.close()
    }

    @Test func `overlaps calls`() async throws {
        let server = try await TestServer()
        let client = try await RPCClient.connect(unixPath: server.path)
        async let slow = client.call("wait")
        while server.startedNames.isEmpty { await Task.yield() }
        #expect(try await client.call("echo") == .null)
        await server.gate.open()
        #expect(try await slow == true)
        await server.server.close()
    }

    @Test func `gives up in time and drops the late answer`() async throws {
        let server = try await TestServer()
        let client = try await RPCClient.connect(unixPath: server.path)
        let error = await #expect(throws: RPCClient.Failure.self) {
            try await client.call("wait", timeoutSeconds: 0)
        }
        #expect(error == .timedOut(method: "wait"))
        await server.gate.open()
        #expect(try await client.call("echo") == .null)
        await server.server.close()
    }

    @Test func `says that nobody listens`() async throws {
        let error = await #expect(throws: RPCClient.Failure.self) {
            try await RPCClient.connect(unixPath: "/nonexistent.sock")
        }
        #expect(error?.description.contains("/nonexistent.sock") == true)
    }

    @Test func `fails when the service goes away, and after it closed`() async throws {
        let server = try await TestServer()
        let client = try await RPCClient.connect(unixPath: server.path)
        let call = Task { try await client.call("wait") }
        while server.startedNames.isEmpty { await Task.yield() }
        await server.server.close(grace: 0)
        await #expect(throws: RPCClient.Failure.closed) { try await call.value }
        await #expect(throws: RPCClient.Failure.closed) { try await client.call("echo") }
    }

    @Test(arguments: [
        ("[01]", RPCClient.Failure.malformed("bad number at byte 2")),
        ("{\"id\":1}", .malformed("neither result nor error")),
        ("{\"id\":1,\"error\":7}", .malformed("neither result nor error")),
    ])
    func `does not believe nonsense`(text: String, failure: RPCClient.Failure) async throws {
        let path = TestServer.freshPath()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.pipeline.addHandler(Nonsense(text))
            }
            .bind(unixDomainSocketPath: path).get()
        let client = try await RPCClient.connect(unixPath: path)
        await #expect(throws: failure) { try await client.call("echo") }
        await client.close()
        try await listener.close()
    }
}

/// Answers anything with the same text.
private final class Nonsense: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let text: String

    init(_ text: String) { self.text = text }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
    }
}
