import JSONRPC
import Platform
import Testing

@Suite(.timeLimit(.minutes(5))) struct `RPC server limits` {
    private let echo = #"{"id":1,"method":"echo"}"#
    private let answer = #"{"jsonrpc":"2.0","id":1,"result":null}"#

    @Test func `serves the 65th connection when another closes`() async throws {
        let server = try await TestServer()
        var clients: [TestClient] = []
        for _ in 0..<64 {
            let client = try await TestClient(path: server.path)
            #expect(try await client.call(echo) == answer)
            clients.append(client)
        }
        let last = try await TestClient(path: server.path)
        try await last.send(#"{"id":"late","method":"echo"}"#)
        try await Task.sleep(for: .milliseconds(100))
        #expect(!server.startedNames.contains("late"))
        try await clients[10].close()
        #expect(await last.line() == answer.replacing("1,", with: "\"late\","))
        await server.server.close()
    }

    @Test func `runs 64 requests of a connection at a time`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(String(repeating: #"{"id":1,"method":"wait"}"#, count: 100))
        while server.startedNames.count < 64 { await Task.yield() }
        try await Task.sleep(for: .milliseconds(100))
        #expect(server.startedNames.count == 64)
        await server.gate.open()
        #expect(await client.lines(100).count == 100)
        await server.server.close()
    }

    @Test func `stops reading from a client that reads nothing`() async throws {
        let server = try await TestServer()
        let deaf = try await TestClient(path: server.path, reads: false)
        deaf.sendWithoutWaiting(String(repeating: #"{"id":1,"method":"big"}"#, count: 5000))
        let silent = try await TestClient(path: server.path)
        try await silent.send("{\"id\":1,")
        let other = try await TestClient(path: server.path)
        for _ in 0..<50 { #expect(try await other.call(echo) == answer) }
        try await Task.sleep(for: .milliseconds(200))
        #expect(server.startedNames.count { $0 == "big" } <= 64 * 2)
        #expect(try await other.call(echo) == answer)
        await server.server.close(grace: 0)
    }

    @Test func `answers a flood of values that are no requests`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        client.sendWithoutWaiting(String(repeating: "7 ", count: 30_000))
        #expect(await client.lines(30_000).allSatisfy { $0.contains("-32600") })
        await server.server.close()
    }

    @Test func `resumes when the client reads again`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path, reads: false)
        client.sendWithoutWaiting(String(repeating: #"{"id":1,"method":"big"}"#, count: 100))
        try await Task.sleep(for: .milliseconds(50))
        try await client.startReading()
        #expect(await client.lines(100).count == 100)
        await server.server.close()
    }
}

@Suite(.timeLimit(.minutes(5))) struct `RPC socket` {
    private let noMethods: RPCDispatcher = { _ throws(RPCError) in throw .methodNotFound }

    @Test func `is refused while its owner lives`() async throws {
        let server = try await TestServer()
        let error = await #expect(throws: RPCServerError.self) {
            _ = try await RPCServer.start(unixPath: server.path, dispatch: noMethods)
        }
        let text = "RPC Unix domain socket path \(server.path) in use. Specify another."
        #expect(error?.description == text)
        let client = try await TestClient(path: server.path)
        #expect(try await client.call(#"{"id":1,"method":"echo"}"#) != nil)
        await server.server.close()
    }

    @Test func `goes away with its lock on a clean close, twice is once`() async throws {
        let server = try await TestServer()
        #expect(FileSystem.exists(server.path) && FileSystem.exists(server.path + ".lock"))
        await server.server.close()
        #expect(!FileSystem.exists(server.path) && !FileSystem.exists(server.path + ".lock"))
        let next = try await RPCServer.start(unixPath: server.path, dispatch: noMethods)
        await server.server.close()
        #expect(FileSystem.exists(server.path) && FileSystem.exists(server.path + ".lock"))
        await next.close()
    }

    @Test func `replaces what a killed process left`() async throws {
        let path = TestServer.freshPath()
        do { _ = try UnixSocket.listen(at: path, .stream) }
        _ = try FileSystem.open(path + ".lock", .replace)
        #expect(FileSystem.exists(path))
        let server = try await RPCServer.start(unixPath: path, dispatch: noMethods)
        let client = try await TestClient(path: path)
        #expect(try await client.call("7 ")?.contains("-32600") == true)
        await server.close()
    }

    @Test func `is not put where a file of somebody is`() async throws {
        let path = TestServer.freshPath()
        _ = try FileSystem.open(path, .replace)
        await #expect(throws: RPCServerError.self) {
            _ = try await RPCServer.start(unixPath: path, dispatch: noMethods)
        }
        #expect(FileSystem.exists(path) && !FileSystem.exists(path + ".lock"))
        try FileSystem.remove(path)
    }

    @Test(arguments: [
        "/tmp/" + String(repeating: "a", count: 120), "/nonexistent-directory/x.sock",
        "/proc/version/x.sock",
    ])
    func `says why it cannot be made`(path: String) async {
        let error = await #expect(throws: RPCServerError.self) {
            _ = try await RPCServer.start(unixPath: path, dispatch: noMethods)
        }
        #expect(error?.description.contains(path) == true)
    }

    @Test func `answers what runs before it closes`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"id":1,"method":"wait"}"#)
        while server.startedNames.isEmpty { await Task.yield() }
        async let closed: Void = server.server.close(grace: 30)
        try await Task.sleep(for: .milliseconds(50))
        await server.gate.open()
        #expect(await client.rest() == [#"{"jsonrpc":"2.0","id":1,"result":true}"#])
        await closed
    }

    @Test func `may be joined by a TCP listener`() async throws {
        let server = try await TestServer(tcp: .init(host: "127.0.0.1", port: 0))
        let port = try #require(await server.server.tcpPort)
        let client = try await TestClient(port: port)
        let answer = try await client.call(#"{"id":1,"method":"echo"}"#)
        #expect(answer == #"{"jsonrpc":"2.0","id":1,"result":null}"#)
        await server.server.close()
    }
}
