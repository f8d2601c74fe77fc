import ControlAPI
import JSONRPC
import Platform
import Testing

private let tooEarly =
    "-1 Method may only be called after framework is initialized using framework_start_init RPC."
private let tooLate =
    "-1 Method may only be called before framework is initialized. Use --wait-for-rpc command"
    + " line parameter and then issue this RPC before the framework_start_init RPC."

@Suite(.timeLimit(.minutes(5))) struct `Method registry` {
    @Test func `knows only registered methods`() async throws {
        let service = try await TestService()
        #expect(try await service.call("no_such_method") == "-32601 Method not found")
        #expect(try await service.call("bdev_get_bdevs") == "-32601 Method not found")
        let names = try JSONValue.parse(try await service.call("rpc_get_methods"))
        #expect(names.array?.contains("bdev_get_bdevs") == false)
        #expect(names.array?.contains("framework_get_reactors") == true)
    }

    @Test func `lists the most recent method first`() async throws {
        let registry = MethodRegistry()
        registry.register("bdev_list") { _ in [] }
        registry.register("bdev_examine") { _ in true }
        #expect(registry.names(current: false) == ["bdev_examine", "bdev_list"])
    }

    @Test func `hides methods that are not allowed`() async throws {
        let service = try await TestService(allowed: ["spdk_get_version", "rpc_get_methods"])
        #expect(try await service.call("log_get_level") == "-32601 Method not found")
        let names = try await service.call("rpc_get_methods")
        #expect(names == #"["spdk_get_version","rpc_get_methods"]"#)
    }

    @Test func `checks the state before the parameters`() async throws {
        let service = try await TestService(isInitialized: false)
        #expect(try await service.call("framework_get_reactors", "{}") == tooEarly)
        #expect(try await service.call("framework_start_init") == "true")
        #expect(try await service.call("framework_start_init", "{\"x\":1}") == tooLate)
        #expect(try await service.call("iobuf_set_options", "7") == tooLate)
    }

    @Test func `lists what the present state allows`() async throws {
        let service = try await TestService(isInitialized: false)
        let before = try await service.call("rpc_get_methods", #"{"current":true}"#)
        #expect(before.contains("framework_start_init"))
        #expect(!before.contains("framework_get_reactors"))
        _ = try await service.call("framework_start_init")
        let after = try await service.call("rpc_get_methods", #"{"current":true}"#)
        #expect(!after.contains("framework_start_init"))
        #expect(after.contains("framework_get_reactors"))
    }

    @Test func `keeps framework_wait_init pending until it is initialized`() async throws {
        let service = try await TestService(isInitialized: false)
        async let waiting = service.call("framework_wait_init", #"{"anything":1}"#)
        try await Task.sleep(for: .milliseconds(20))
        #expect(try await service.call("framework_start_init") == "true")
        #expect(try await waiting == "true")
        #expect(try await service.call("framework_wait_init") == "true")
    }

    @Test func `refuses a second start, and starts again after a failure`() async throws {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let service = try await TestService(
            TestFacts {
                for await _ in stream { break }
                throw RPCError.errno(ErrorNumber.noMemory)
            }, isInitialized: false)
        async let first = service.call("framework_start_init")
        while service.registry.phase != .initializing { await Task.yield() }
        #expect(try await service.call("framework_start_init") == tooLate)
        #expect(try await service.call("framework_get_reactors") == tooEarly)
        continuation.yield()
        #expect(try await first == "-12 Cannot allocate memory")
        #expect(service.registry.phase == .startup)
    }

    @Test func `answers every kind of failure`() async throws {
        struct Refused: AnswerableError {
            var answer: RPCError { .errno(ErrorNumber.busy, message: "c1 is suspending") }
        }
        struct Strange: Error {}
        let service = try await TestService()
        service.registry.register("bdev_list") { _ in throw Refused() }
        service.registry.register("bdev_examine") { _ in
            throw SystemError("open", code: ErrorNumber.noEntry)
        }
        service.registry.register("bdev_get_bdevs") { _ in throw Strange() }
        #expect(try await service.call("bdev_list") == "-16 c1 is suspending")
        let examined = try await service.call("bdev_examine", #"{"name":"x"}"#)
        #expect(examined == "-2 No such file or directory")
        #expect(try await service.call("bdev_get_bdevs") == "-32603 Strange()")
    }

    @Test func `stops when a method is not in the schema or comes twice`() async {
        await #expect(processExitsWith: .failure) {
            MethodRegistry().register("not_in_the_schema") { _ in true }
        }
        await #expect(processExitsWith: .failure) {
            let registry = MethodRegistry()
            for _ in 0..<2 { registry.register("bdev_list") { _ in [] } }
        }
    }
}

@Suite(.timeLimit(.minutes(5))) struct `RPC history` {
    private func freshPath() -> String {
        "/tmp/softsnap-history-\(ProcessFacts.identifier)-\(UInt64.random(in: 0 ... .max))"
    }

    private func text(_ path: String) throws -> String {
        String(decoding: try FileSystem.contents(of: path, limit: 1 << 20), as: UTF8.self)
    }

    @Test func `holds each call and its answer in a line`() async throws {
        let path = freshPath()
        let history = try RPCHistory(path: path, fileByteCount: 1 << 20)
        let service = try await TestService(history: history)
        _ = try await service.call("log_get_level")
        _ = try await service.call("log_set_flag", #"{"flag":"x"}"#)
        await history.close()
        let lines = try text(path).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(
            lines.first?.hasSuffix(
                #" {"method":"log_get_level","id":1} -> {"jsonrpc":"2.0","id":1,"result":"NOTICE"}"#
            ) == true)
        #expect(lines.last?.contains(#""params":{"flag":"x"}"#) == true)
        #expect(lines.last?.contains("invalid log flag") == true)
        try FileSystem.remove(path)
    }

    @Test func `keeps one full file beside the one it writes`() async throws {
        let path = freshPath()
        let history = try RPCHistory(path: path, fileByteCount: 1000)
        let service = try await TestService(history: history)
        for _ in 0..<100 { _ = try await service.call("log_get_level") }
        await history.close()
        #expect(try text(path).utf8.count < 1200)
        #expect(try text(path + ".1").utf8.count < 1200)
        #expect(!FileSystem.exists(path + ".2"))
        try FileSystem.remove(path)
        try FileSystem.remove(path + ".1")
    }
}
