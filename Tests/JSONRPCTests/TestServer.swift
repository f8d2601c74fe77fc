import JSONRPC
import Platform
import Synchronization

/// A server with a few methods: `echo` answers its params, `wait` answers when told to, `fail`
/// fails, `big` answers 64 KiB.
final class TestServer: Sendable {
    let path: String
    let gate = Gate()
    private let started = Mutex<[String]>([])
    private let running = Mutex<RPCServer?>(nil)

    init(tcp: RPCServer.TCPAddress? = nil) async throws {
        let path = TestServer.freshPath()
        self.path = path
        let server = try await RPCServer.start(unixPath: path, tcp: tcp) {
            [self] request throws(RPCError) in
            try await answer(request)
        }
        running.withLock { $0 = server }
    }

    var server: RPCServer { running.withLock { $0 }! }

    /// Ids, or methods where the id is a number, in the order in which the calls started.
    var startedNames: [String] { started.withLock { $0 } }

    static func freshPath() -> String {
        "/tmp/softsnap-rpc-\(ProcessFacts.identifier)-\(UInt64.random(in: 0 ... .max)).sock"
    }

    nonisolated(nonsending) func answer(
        _ request: RPCRequest
    ) async throws(RPCError) -> JSONValue {
        started.withLock { $0.append(request.id?.string ?? request.method) }
        switch request.method {
        case "echo": return request.params ?? .null
        case "wait":
            await gate.wait()
            return true
        case "fail": throw .errno(ErrorNumber.noDevice)
        case "big": return .string(String(repeating: "x", count: 1 << 16))
        default: throw .methodNotFound
        }
    }
}

/// Holds whoever waits until it is opened.
actor Gate {
    private var isOpen = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func wait() async {
        if isOpen { return }
        await withCheckedContinuation { waiting.append($0) }
    }

    func open() {
        isOpen = true
        for waiter in waiting { waiter.resume() }
        waiting = []
    }
}
