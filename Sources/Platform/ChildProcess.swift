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

    /// Starts `path` in a session of its own, with `descriptor` as its descriptor 3.
    /// - Returns: its process identifier.
    public static func startDetached(
        _ path: String, _ arguments: [String], passing descriptor: borrowing FileDescriptor
    ) throws(SystemError) -> Int32 {
        let moved = try descriptor.duplicate(above: 10)
        var words = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
        }
        return try check(
            unsafe platform_spawn_detached(path, &words, moved.number), "start \(path)")
    }

    /// Whether a child has ended; then it is forgotten.
    public static func hasEnded(_ child: Int32) -> Bool { platform_reap(child) == 1 }

    /// Puts the program at `path` in the place of this process, with the same identifier. Every
    /// descriptor that is close-on-exec is closed. Returns only with an error.
    public static func become(_ path: String, _ arguments: [String]) -> SystemError {
        var words = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer {
            for index in unsafe words.indices { unsafe free(words[index]) }
        }
        _ = unsafe platform_execute(path, &words)
        return .last("exec \(path)")
    }
}
