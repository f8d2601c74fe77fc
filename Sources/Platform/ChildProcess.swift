internal import CPlatform
internal import Glibc

/// Other programs, run for what they print.
public enum ChildProcess {
    /// Starts a shell command. Its standard input and output are the socket that is returned, whose
    /// end it takes as the word to go.
    public static func connect(toCommand command: String) throws(SystemError) -> Int32 {
        let line = ["/bin/sh", "-c", command]
        var words = unsafe line.map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
        }
        let socket = unsafe platform_child_connect("/bin/sh", &words)
        return try check(socket, "run \(command)")
    }

    /// What `path` writes to its standard output and error within `milliseconds`: at most `limit`
    /// bytes. The program has ended by then, of itself or by us.
    public static func output(
        of path: String, _ arguments: [String], limit: Int = 1 << 20, milliseconds: Int32 = 10_000
    ) throws(SystemError) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: limit)
        var words = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
        }
        let count = unsafe platform_child_output(path, &words, &buffer, limit, milliseconds)
        try check(count, "run \(path)")
        return buffer.prefix(count).map(UInt8.init(bitPattern:))
    }
}
