internal import JSONRPC
public import Platform
internal import Synchronization

/// The log of every call and its answer, one line each (SNAP_RPC_LOG_ENABLE).
///
/// Recording never waits: lines go to a writer of their own, and beyond `Limit.waiting` they are
/// lost and the next line says how many. Disk use is bounded: a file that has reached its size is
/// renamed to `<path>.1`, replacing the one before it.
public final class RPCHistory: Sendable {
    public enum Limit {
        /// Lines that wait for the disk.
        public static let waiting = 1024
        /// Bytes of one line; the rest of it is cut.
        public static let lineByteCount = 16 * 1024
    }

    private let lines: AsyncStream<[UInt8]>.Continuation
    private let writer: Task<Void, Never>
    private let lostCount = Atomic(0)

    /// - Parameter fileByteCount: size at which the file is renamed. Two such files exist at most.
    public init(path: String, fileByteCount: UInt64) throws(SystemError) {
        var file = try RPCHistoryFile(path: path, limit: fileByteCount)
        let (stream, lines) = AsyncStream<[UInt8]>.makeStream(
            bufferingPolicy: .bufferingOldest(Limit.waiting))
        self.lines = lines
        writer = Task { for await line in stream { file.append(line) } }
    }

    /// Writes what waits and stops.
    public func close() async {
        lines.finish()
        await writer.value
    }

    func record(_ request: RPCRequest, _ outcome: Result<JSONValue, RPCError>) {
        var call: JSONObject = ["method": .string(request.method)]
        if let params = request.params { call.append("params", params) }
        if let id = request.id { call.append("id", id) }
        let answer = RPCResponse(id: request.id ?? .null, outcome).encoded() ?? []
        let lost = lostCount.exchange(0, ordering: .relaxed)
        let head = "\(Clock.wallSeconds()) " + (lost > 0 ? "(\(lost) lines lost before) " : "")
        let line = head.utf8 + JSONValue.object(call).encoded() + Array(" -> ".utf8) + answer
        let written = lines.yield(line.prefix(Limit.lineByteCount) + [UInt8(ascii: "\n")])
        if case .dropped = written { lostCount.add(lost + 1, ordering: .relaxed) }
    }
}
