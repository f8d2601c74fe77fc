import JSONRPC
import Platform
import Seeds
import Testing

private let invalid =
    #"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}"#

private func result(_ id: String, _ value: String) -> String {
    #"{"jsonrpc":"2.0","id":\#(id),"result":\#(value)}"#
}

@Suite(.timeLimit(.minutes(5))) struct `RPC server` {
    @Test(arguments: [
        "1.50", "-1E+05", "123456789012345678901234567890", "\"\"", #""a\u0000b""#, "\"x\"", "-0",
        #""\u00E9\uD836\uDC00""#,
    ])
    func `echoes an id as it was written`(id: String) async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        let answer = try await client.call(#"{"id":\#(id),"method":"echo","params":[1]}"#)
        #expect(answer == result(id, "[1]"))
        await server.server.close()
    }

    @Test(arguments: [
        "7", "true", "null", "\"x\"", "[]", "{}", #"{"id":1}"#, #"{"method":1,"id":1}"#,
        #"{"method":"echo","id":1,"extra":2}"#, #"{"jsonrpc":"1.0","method":"echo","id":1}"#,
        #"{"jsonrpc":2.0,"method":"echo","id":1}"#, #"{"method":"echo","id":true}"#,
        #"{"method":"echo","id":[]}"#, #"{"method":"echo","id":{}}"#, #"{"method":null,"id":1}"#,
        #"{"method":"e\u0000","id":1}"#, #"{"method":"echo","id":1,"a\u0000":1}"#,
    ])
    func `refuses a value that is no request and stays open`(text: String) async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        #expect(try await client.call(text + " ") == invalid)
        #expect(try await client.call(#"{"id":2,"method":"echo"}"#) == result("2", "null"))
        await server.server.close()
    }

    @Test(arguments: ["1", "true", "\"x\""])
    func `refuses scalar params with the request's id`(params: String) async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        let answer = try await client.call(#"{"id":"i","method":"echo","params":\#(params)}"#)
        #expect(answer == invalid.replacing("\"id\":null", with: "\"id\":\"i\""))
        await server.server.close()
    }

    @Test func `takes null params and keys in any order`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        let answer = try await client.call(
            #"{"params":null,"\u0069d":1,"method":"echo","jsonrpc":"2.0"}"#)
        #expect(answer == result("1", "null"))
        await server.server.close()
    }

    @Test func `answers a notification only when it fails`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"method":"echo"}{"method":"echo","id":null}{"method":"fail"}"#)
        let error = #"{"jsonrpc":"2.0","id":null,"error":{"code":-19,"message":"No such device"}}"#
        #expect(await client.line() == error)
        await server.server.close()
    }

    @Test func `answers a batch in one line, in the order of completion`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(
            #"[{"id":1,"method":"wait"},7,{"method":"echo"},{"id":2,"method":"echo"}]"#)
        while server.startedNames.count < 3 { await Task.yield() }
        await Task { try? await Task.sleep(for: .milliseconds(20)) }.value
        await server.gate.open()
        #expect(await client.line() == "[\(invalid),\(result("2", "null")),\(result("1", "true"))]")
        try await client.send(#"[{"method":"echo"},{"method":"echo"}]"#)
        #expect(try await client.call(#"[{"id":3,"method":"echo"}]"#) == "[\(result("3", "null"))]")
        await server.server.close()
    }

    @Test func `lets a later request overtake a slow one`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"id":1,"method":"wait"}{"id":2,"method":"echo"}"#)
        #expect(await client.line() == result("2", "null"))
        await server.gate.open()
        #expect(await client.line() == result("1", "true"))
        await server.server.close()
    }

    @Test(arguments: Seed.sample(20))
    func `starts pipelined requests in order however they are split`(seed: Seed) async throws {
        var random = seed
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        let ids = (0..<300).map { "r\($0)" }
        var stream = ids.map { #"{"id":"\#($0)","method":"echo"}"# }.joined().utf8[...]
        while !stream.isEmpty {
            let part = stream.prefix(Int.random(in: 1...2000, using: &random))
            stream = stream.dropFirst(part.count)
            try await client.send(Array(part))
        }
        let answers = await client.lines(ids.count)
        #expect(Set(answers) == Set(ids.map { result("\"\($0)\"", "null") }), "\(seed)")
        #expect(server.startedNames == ids, "\(seed)")
        await server.server.close()
    }

    @Test func `answers everything to a half-closed client, then closes`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"id":1,"method":"wait"}{"id":2,"method":"echo"}{"id":3,"#)
        try await client.shutOutput()
        #expect(await client.line() == result("2", "null"))
        await server.gate.open()
        #expect(await client.rest() == [result("1", "true")])
        await server.server.close()
    }

    @Test(arguments: ["[1,]", "{\"id\":1,\"id\":2}", "{\u{0}}"])
    func `answers a parse error after what came before, and closes`(text: String) async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"id":1,"method":"wait"}"# + text + #"{"id":2,"method":"echo"}"#)
        #expect(await client.line()?.contains(#""id":null,"error":{"code":-32700,"#) == true)
        await server.gate.open()
        #expect(await client.rest() == [result("1", "true")])
        await server.server.close()
    }

    @Test func `takes a request of 256 KiB and closes on a longer one`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        let head = #"{"id":1,"method":"fail","params":[""#
        func request(_ byteCount: Int) -> String {
            head + String(repeating: "a", count: byteCount - head.count - 3) + "\"]}"
        }
        #expect(try await client.call(request(262_144))?.contains("No such device") == true)
        client.sendWithoutWaiting(request(262_145))
        #expect(await client.rest().allSatisfy { $0.contains("-32700") })
        await server.server.close()
    }

    @Test func `keeps running what a vanished client has asked for`() async throws {
        let server = try await TestServer()
        let client = try await TestClient(path: server.path)
        try await client.send(#"{"id":1,"method":"wait"}"#)
        while server.startedNames.isEmpty { await Task.yield() }
        try await client.close()
        await server.gate.open()
        let other = try await TestClient(path: server.path)
        #expect(try await other.call(#"{"id":1,"method":"echo"}"#) == result("1", "null"))
        await server.server.close()
    }
}
