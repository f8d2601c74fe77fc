internal import JSONRPC
internal import NVMeOF
internal import Platform
internal import Synchronization

/// The socket implementations that clients of SPDK choose among, and their options (sock_*).
///
/// Connections are the kernel's whichever is chosen: what a choice changes is whose options they
/// are made with.
final class SocketSettings: Sendable {
    /// Where NVIDIA's SPDK looks for the library of `xlio`.
    static let variable = "SPDK_XLIO_PATH"
    /// Of a buffer whose size nobody has set, as SPDK reports it.
    private static let unsetByteCount = 2 << 20

    private struct State {
        var standard = "posix"
        var isStandardGiven = false
        /// By implementation: the members that were set.
        var given: [String: JSONObject] = [:]
    }

    private let state = Mutex(State())

    var standard: String { state.withLock { $0.standard } }

    func setStandard(_ name: String) throws(RPCError) {
        try check(name)
        state.withLock { state in
            state.standard = name
            state.isStandardGiven = true
        }
    }

    /// Refuses an implementation that is not known, and `xlio` without its library.
    func check(_ name: String) throws(RPCError) {
        if name == "posix" || name == "uring" { return }
        guard name == "xlio" else {
            throw .invalidParameters(
                "socket implementation \"\(name)\" is not known; use posix, uring or xlio")
        }
        guard let path = ProcessFacts.environment(Self.variable), !path.isEmpty else {
            throw .invalidParameters(
                "socket implementation \"xlio\": \(Self.variable) is not set; start the service "
                    + "with the path of libxlio.so in it, or use posix")
        }
        if let reason = DynamicLibrary.load(path) {
            throw .invalidParameters(
                "socket implementation \"xlio\": \(reason); set \(Self.variable) to the path of "
                    + "libxlio.so, or use posix")
        }
    }

    /// All options of an implementation, in SPDK's order.
    func options(of name: String) throws(RPCError) -> JSONObject {
        try check(name)
        var options = Self.defaults(of: name)
        let given = state.withLock { $0.given[name] }
        for member in given?.members ?? [] { options[member.key] = member.value }
        return options
    }

    private static func defaults(of name: String) -> JSONObject {
        [
            "recv_buf_size": JSONValue(unsetByteCount),
            "send_buf_size": JSONValue(unsetByteCount),
            "enable_recv_pipe": true, "enable_quickack": false, "enable_placement_id": 0,
            "enable_zerocopy_send_server": .bool(name != "uring"),
            "enable_zerocopy_send_client": false, "zerocopy_threshold": 0, "tls_version": 0,
            "enable_ktls": false,
        ]
    }

    /// Sets the members of `given` beside `impl_name`.
    func set(_ name: String, _ given: JSONObject) throws(RPCError) {
        try check(name)
        state.withLock { state in
            for member in given.members where member.key != "impl_name" {
                state.given[name, default: [:]][member.key] = member.value
            }
        }
    }

    /// What connections are made with from now on.
    var connectionOptions: TCPSocket.Options {
        state.withLock { state in
            var options = TCPSocket.Options()
            guard let given = state.given[state.standard] else { return options }
            func size(_ key: String) -> UInt32 { UInt32(clamping: given[key]?.unsigned ?? 0) }
            options.receiveByteCount = size("recv_buf_size")
            options.sendByteCount = size("send_buf_size")
            options.acknowledgesQuickly = given["enable_quickack"] == true
            if given["enable_zerocopy_send_client"] == true {
                options.pinnedByteCount =
                    Self.pinnedByteCount(given) ?? PathOptions.usualPinnedByteCount
            }
            return options
        }
    }

    /// From how many bytes on data is worth a send without a copy, where that is said.
    var pinnedByteCount: Int? {
        state.withLock { state in state.given[state.standard].flatMap(Self.pinnedByteCount) }
    }

    private static func pinnedByteCount(_ given: JSONObject) -> Int? {
        guard let count = given["zerocopy_threshold"]?.unsigned, count > 0 else { return nil }
        return Int(clamping: count)
    }

    /// The calls that set them again; nil when nothing was set.
    var savedCalls: [JSONValue]? {
        let (standard, names) = state.withLock { state in
            (state.isStandardGiven ? state.standard : nil, state.given.keys.sorted())
        }
        var calls: [JSONValue] = []
        if let standard {
            calls.append([
                "method": "sock_set_default_impl", "params": ["impl_name": .string(standard)],
            ])
        }
        for name in names {
            guard let options = try? options(of: name) else { continue }
            var params: JSONObject = ["impl_name": .string(name)]
            for member in options.members { params.append(member.key, member.value) }
            calls.append(["method": "sock_impl_set_options", "params": .object(params)])
        }
        return calls.isEmpty ? nil : calls
    }
}

extension MethodRegistry {
    /// Socket implementations (sock.json).
    func registerSockets(_ context: StorageContext) {
        let sockets = context.sockets
        register("sock_get_default_impl") { _ in ["impl_name": .string(sockets.standard)] }
        register("sock_set_default_impl") { parameters in
            try sockets.setStandard(parameters.string("impl_name"))
            return true
        }
        register("sock_impl_get_options") { parameters in
            .object(try sockets.options(of: parameters.string("impl_name")))
        }
        register("sock_impl_set_options") { parameters in
            try sockets.set(parameters.string("impl_name"), parameters.given)
            return true
        }
    }
}
