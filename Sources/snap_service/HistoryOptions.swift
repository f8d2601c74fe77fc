internal import ControlAPI
internal import Logging
internal import Platform

/// Where calls and their answers are recorded, and whether they are.
struct HistoryOptions: Sendable {
    static let variable = "SNAP_RPC_LOG_ENABLE"
    static let defaultDirectory = "/var/log/snap-log"
    static let defaultPath = defaultDirectory + "/rpc-log"
    /// Size at which the file is put aside; one older file is kept.
    private static let fileByteCount: UInt64 = 64 << 20

    var path = defaultPath
    let isEnabled = ProcessFacts.environment(variable) != "0"

    /// Nil when recording is off or cannot be done, which is said once.
    func start(_ log: Logger) -> RPCHistory? {
        guard isEnabled else { return nil }
        do {
            if path == HistoryOptions.defaultPath {
                try FileSystem.makeDirectory(HistoryOptions.defaultDirectory, mode: 0o755)
            }
            return try RPCHistory(path: path, fileByteCount: HistoryOptions.fileByteCount)
        } catch {
            log.warning("event=rpc_log_off path=\(path) reason=\"\(error)\"")
            return nil
        }
    }
}
