internal import CPlatform
internal import Glibc

/// What the running process knows of itself.
public enum ProcessFacts {
    public static var identifier: Int32 { getpid() }

    /// Whether a process of this PID namespace was killed, or has ended, and is still there: for
    /// its parent, or for requests that are in the kernel.
    public static func isEnding(_ process: Int32) -> Bool {
        guard let bytes = try? FileSystem.contents(of: "/proc/\(process)/stat", limit: 4096),
            let name = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return false }
        // State, six numbers, flags (proc(5)); PF_EXITING is 4.
        let words = bytes[(name + 1)...].split(separator: 0x20).map {
            String(decoding: $0, as: UTF8.self)
        }
        guard words.count > 6, let flags = UInt32(words[6]) else { return false }
        return words[0] == "Z" || words[0] == "X" || flags & 4 != 0
    }

    public static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// The program that is running, also when its file has been replaced.
    public static var program: String { "/proc/self/exe" }

    /// Ends at once: no destructors, as `kill -9` would.
    public static func exitNow(code: Int32) -> Never { platform_exit_now(code) }

    public static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Bytes that the process may lock in memory; nil when there is no limit (RLIMIT_MEMLOCK).
    public static var lockedMemoryLimit: UInt64? {
        var limit = rlimit()
        guard unsafe getrlimit(numericCast(__RLIMIT_MEMLOCK.rawValue), &limit) == 0 else {
            return nil
        }
        return limit.rlim_cur == ~0 ? nil : UInt64(limit.rlim_cur)
    }

    /// Lets the process have as many descriptors as the system allows: hundreds of functions have
    /// a dozen each, and a login's first limit is 1,024 (RLIMIT_NOFILE). For the process's only
    /// thread: it makes room in the kernel's table too, which would grow later by waiting for every
    /// processor (RCU), 10 ms in the middle of a hand-over.
    /// - Returns: how many that is.
    @discardableResult
    public static func raiseDescriptorLimit() -> UInt64 {
        var limit = rlimit()
        let kind: __rlimit_resource_t = numericCast(RLIMIT_NOFILE.rawValue)
        guard unsafe getrlimit(kind, &limit) == 0 else { return 0 }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(kind, &limit)
        _ = unsafe getrlimit(kind, &limit)
        let last = fcntl(2, F_DUPFD_CLOEXEC, Int32(min(limit.rlim_cur, 16_384) - 1))
        if last >= 0 { close(last) }
        return UInt64(limit.rlim_cur)
    }

    /// Writes a line to standard error in one call.
    public static func complain(_ line: String) { write(line + "\n", to: 2) }
    /// Writes to standard error and leaves the line open.
    public static func complainOpen(_ text: String) { write(text, to: 2) }
    public static func say(_ line: String) { write(line + "\n", to: 1) }
    /// Writes to standard output and leaves the line open.
    public static func prompt(_ text: String) { write(text, to: 1) }

    private static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(
                    descriptor, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done)
            }
            if count < 0 && errno != EINTR { return }
            done += max(0, count)
        }
    }
}

/// Signals taken by reading an eventfd that a handler writes.
public enum Signals {
    public static let terminate = SIGTERM
    public static let interrupt = SIGINT
    public static let hangUp = SIGHUP
    public static let quit = SIGQUIT
    public static let user1 = SIGUSR1
    public static let kill = SIGKILL

    /// From now on `signals` do not end the process: the descriptor turns readable instead.
    public static func descriptor(for signals: [Int32]) throws(SystemError) -> FileDescriptor {
        platform_ignore_sigpipe()
        return FileDescriptor(
            owning: try check(
                unsafe platform_signal_descriptor(signals, signals.count), "sigaction"))
    }

    /// Writing to a pipe or socket that nobody reads fails, and ends nothing.
    public static func ignoreBrokenPipes() { platform_ignore_sigpipe() }

    public static func send(_ signal: Int32, to process: Int32) throws(SystemError) {
        try check(Glibc.kill(process, signal), "kill \(process)")
    }
}
