internal import CPlatform
internal import Glibc

/// Bytes and the descriptors that came with them.
public struct ReceivedMessage: Sendable {
    public var bytes: [UInt8]
    public var descriptors: [SharedDescriptor]
}

/// Unix sockets that carry descriptors (unix(7)).
public enum UnixSocket {
    public enum Kind: Sendable {
        case stream
        /// Keeps message boundaries.
        case packet

        var type: Int32 {
            switch self {
            case .stream: Int32(SOCK_STREAM.rawValue)
            case .packet: Int32(SOCK_SEQPACKET.rawValue)
            }
        }
    }

    private static let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)

    /// Two connected non-blocking ends.
    public static func pair(_ kind: Kind) throws(SystemError) -> (
        SharedDescriptor, SharedDescriptor
    ) {
        var ends: [Int32] = [0, 0]
        try check(unsafe socketpair(AF_UNIX, kind.type | flags, 0, &ends), "socketpair")
        return (
            SharedDescriptor(FileDescriptor(owning: ends[0])),
            SharedDescriptor(FileDescriptor(owning: ends[1]))
        )
    }

    /// A non-blocking listening socket at `path`. The path must be free.
    public static func listen(at path: String, _ kind: Kind) throws(SystemError) -> FileDescriptor {
        let socket = FileDescriptor(
            owning: try check(Glibc.socket(AF_UNIX, kind.type | flags, 0), "socket"))
        try check(unsafe platform_unix_bind(socket.number, path), "bind \(path)")
        try check(Glibc.listen(socket.number, 128), "listen on \(path)")
        return socket
    }

    /// A non-blocking connection to the listener at `path`.
    public static func connect(to path: String, _ kind: Kind) throws(SystemError) -> FileDescriptor
    {
        let socket = FileDescriptor(
            owning: try check(
                Glibc.socket(AF_UNIX, kind.type | Int32(SOCK_CLOEXEC.rawValue), 0), "socket"))
        try check(unsafe platform_unix_connect(socket.number, path), "connect to \(path)")
        try socket.setNonBlocking()
        return socket
    }

    /// The next connection, non-blocking; nil when none waits.
    public static func accept(_ listener: Int32) throws(SystemError) -> FileDescriptor? {
        let number = platform_accept(listener)
        if number < 0 && [EAGAIN, EINTR, ECONNABORTED].contains(errno) { return nil }
        return FileDescriptor(owning: try check(number, "accept"))
    }

    /// Sends as much of `bytes` as fits; descriptors go with the first byte.
    /// - Returns: bytes sent; nil when nothing fits now.
    public static func send(
        _ bytes: ArraySlice<UInt8>, descriptors: [Int32] = [], to socket: Int32
    ) throws(SystemError) -> Int? {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            unsafe platform_send(
                socket, buffer.baseAddress, buffer.count, descriptors, descriptors.count,
                // A peer may have handed us a blocking socket that nobody reads.
                Int32(MSG_DONTWAIT))
        }
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return nil }
        return try check(count, "send")
    }

    /// Receives up to `byteCount` bytes. Empty bytes mean that the peer has closed; nil that
    /// nothing is there. A peer that sends more than 128 descriptors at once gets an error.
    public static func receive(
        upTo byteCount: Int, from socket: Int32
    ) throws(SystemError) -> ReceivedMessage? {
        try receive(upTo: byteCount, from: socket, flags: 0)
    }

    /// As `receive`, and what is received stays in the socket; its descriptors are duplicates.
    /// - Parameter offset: bytes of a stream to look past.
    public static func peek(
        upTo byteCount: Int, from socket: Int32, past offset: Int
    ) throws(SystemError) -> ReceivedMessage? {
        if offset > 0 {
            try check(platform_peek_offset(socket, Int32(offset)), "setsockopt(SO_PEEK_OFF)")
        }
        defer { if offset > 0 { _ = platform_peek_offset(socket, -1) } }
        return try receive(upTo: byteCount, from: socket, flags: Int32(MSG_PEEK))
    }

    /// What waits at the head of a stream.
    public enum Waiting: Sendable {
        case all(ReceivedMessage)
        /// Less than was asked for.
        case less
        case closed
    }

    /// Looks at the next `byteCount` bytes of a stream, which stay there. Each call duplicates
    /// their descriptors anew.
    public static func waiting(
        _ byteCount: Int, in socket: Int32
    ) throws(SystemError) -> Waiting {
        var seen = ReceivedMessage(bytes: [], descriptors: [])
        while seen.bytes.count < byteCount {
            let past = seen.bytes.count
            guard let part = try peek(upTo: byteCount - past, from: socket, past: past) else {
                return .less
            }
            if part.bytes.isEmpty { return .closed }
            seen.bytes += part.bytes
            seen.descriptors += part.descriptors
        }
        return .all(seen)
    }

    private static func receive(
        upTo byteCount: Int, from socket: Int32, flags: Int32
    ) throws(SystemError) -> ReceivedMessage? {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        var numbers = [Int32](repeating: -1, count: PLATFORM_MAX_DESCRIPTORS)
        var count = 0
        let received = unsafe platform_receive(
            socket, &bytes, byteCount, &numbers, &count, flags | Int32(MSG_DONTWAIT))
        if received < 0 && (errno == EAGAIN || errno == EINTR) { return nil }
        try check(received, "receive")
        bytes.removeLast(byteCount - received)
        let descriptors = numbers.prefix(count).map {
            SharedDescriptor(FileDescriptor(owning: $0))
        }
        return ReceivedMessage(bytes: bytes, descriptors: descriptors)
    }

    /// Ends the connection in both directions, whoever else has the descriptor.
    public static func shutDown(_ socket: Int32) { _ = shutdown(socket, Int32(SHUT_RDWR)) }

    /// Whether the peer has closed its end for good.
    public static func hasHungUp(_ socket: Int32) -> Bool {
        var entry = pollfd(fd: socket, events: 0, revents: 0)
        return unsafe poll(&entry, 1, 0) > 0 && entry.revents & Int16(POLLHUP | POLLERR) != 0
    }

    /// Waits until `socket` takes more.
    public static func waitWritable(_ socket: Int32, milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) > 0
    }

    /// Waits until `socket` is readable. False when `milliseconds` (negative: for ever) pass first.
    public static func waitReadable(_ socket: Int32, milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) > 0
    }
}
