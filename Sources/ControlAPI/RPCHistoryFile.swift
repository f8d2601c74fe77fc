internal import Platform

/// One file of the history and the one before it.
struct RPCHistoryFile: ~Copyable {
    private let path: String
    private let limit: UInt64
    private var byteCount: UInt64
    private var file: FileDescriptor

    init(path: String, limit: UInt64) throws(SystemError) {
        let file = try FileSystem.open(path, .append)
        byteCount = try FileSystem.geometry(of: file.number).byteCount
        self.file = file
        self.path = path
        self.limit = limit
    }

    /// A full disk loses lines and nothing else: the service goes on.
    mutating func append(_ line: [UInt8]) {
        do throws(SystemError) {
            if byteCount >= limit {
                try FileSystem.rename(path, to: path + ".1")
                file = try FileSystem.open(path, .append)
                byteCount = 0
            }
            try file.write(line)
            byteCount += UInt64(line.count)
        } catch {
            ProcessFacts.complain("rpc-history lost a line error=\"\(error)\"")
        }
    }
}
