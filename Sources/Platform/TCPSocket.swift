internal import CPlatform
internal import Glibc

/// Non-blocking TCP sockets without Nagle's delay (tcp(7)). Addresses are numeric, IPv4 or IPv6.
public enum TCPSocket {
    public enum Family: Sendable {
        case ipv4, ipv6
    }

    /// What a connection is made with.
    public struct Options: Equatable, Sendable {
        /// Bytes of the kernel's buffers, which it doubles for its own use and bounds by
        /// net.core.rmem_max and wmem_max; 0: it sizes them itself.
        public var receiveByteCount: UInt32 = 0
        public var sendByteCount: UInt32 = 0
        /// Each receipt is acknowledged at once.
        public var acknowledgesQuickly = false
        /// Data of that many bytes or more is sent from where it is; 0: none is.
        public var pinnedByteCount = 0

        public init() {}

        fileprivate var layout: platform_tcp_options {
            platform_tcp_options(
                receive_bytes: Int32(clamping: receiveByteCount),
                send_bytes: Int32(clamping: sendByteCount))
        }
    }

    /// Nil for text that is no numeric address.
    public static func family(of address: String) -> Family? {
        switch unsafe platform_address_family(address) {
        case AF_INET: .ipv4
        case AF_INET6: .ipv6
        default: nil
        }
    }

    /// Connects, from `local` unless it is empty. What `options` say of acknowledgements is for who
    /// receives: `acknowledge`.
    ///
    /// Waits on the calling thread for `milliseconds` at most (ETIMEDOUT), and asks every 20 ms
    /// whether the connection is still wanted (ECANCELED). EINVAL: no numeric address; what
    /// connect(2) says otherwise.
    public static func connect(
        to address: String, port: UInt16, from local: String = "", _ options: Options = Options(),
        milliseconds: UInt64,
        while isWanted: () -> Bool = { true }
    ) throws(SystemError) -> FileDescriptor {
        let call = "connect to \(address) port \(port)"
        let number =
            if local.isEmpty {
                unsafe platform_tcp_connect(address, port, nil, options.layout)
            } else {
                unsafe platform_tcp_connect(address, port, local, options.layout)
            }
        let socket = FileDescriptor(owning: try check(number, call))
        let end = Clock.monotonicNanoseconds() + milliseconds * 1_000_000
        while !UnixSocket.waitWritable(socket.number, milliseconds: 20) {
            if !isWanted() { throw SystemError(call, code: ECANCELED) }
            if Clock.monotonicNanoseconds() >= end { throw SystemError(call, code: ETIMEDOUT) }
        }
        let code = platform_tcp_error(socket.number)
        if code != 0 { throw SystemError(call, code: code) }
        return socket
    }

    /// Allows sends of memory that the kernel reads in place (SO_ZEROCOPY); false: it cannot.
    public static func allowPins(_ socket: Int32) -> Bool {
        platform_stream_allow_pins(socket) == 0
    }

    /// The end of the kernel's use of pinned sends, which are counted from 0 modulo 2^32.
    public struct PinNotice: Equatable, Sendable {
        public let first: UInt32
        public let last: UInt32
        /// The kernel has copied them after all, as it does between two ends in one machine.
        public let isCopied: Bool
    }

    /// Takes the oldest notice of the socket.
    public static func nextNotice(_ socket: Int32) -> PinNotice? {
        var notice = platform_notice()
        if unsafe platform_stream_take_notice(socket, &notice) != 1 { return nil }
        return PinNotice(
            first: notice.first, last: notice.last, isCopied: notice.is_copied != 0)
    }

    /// Bytes of the buffers of `socket`, as the kernel has them.
    public static func buffers(
        of socket: Int32
    ) throws(SystemError) -> (receive: Int, send: Int) {
        var found = platform_tcp_options()
        _ = try check(unsafe platform_tcp_buffers(socket, &found), "getsockopt")
        return (Int(found.receive_bytes), Int(found.send_bytes))
    }

    /// Acknowledges what has come now, without waiting for data to send along (TCP_QUICKACK). The
    /// kernel forgets it by and by, so it is said after each receipt.
    public static func acknowledge(_ socket: Int32) { _ = platform_tcp_acknowledge(socket) }

    /// Whether the kernel acknowledges at once now.
    public static func acknowledgesNow(_ socket: Int32) -> Bool {
        platform_tcp_acknowledges(socket) == 1
    }

    /// A listening socket; port 0 takes a free one. `UnixSocket.accept` takes its connections.
    public static func listen(
        at address: String, port: UInt16 = 0
    ) throws(SystemError) -> FileDescriptor {
        FileDescriptor(
            owning: try check(
                unsafe platform_tcp_listen(address, port), "listen at \(address) port \(port)"))
    }

    /// Sends at once, and ends the connection, with ETIMEDOUT, when its peer has answered nothing
    /// for `seconds`, also while nothing is sent.
    public static func keep(_ socket: Int32, seconds: Int32) throws(SystemError) {
        try check(platform_tcp_keep(socket, seconds), "setsockopt")
    }

    /// The port that `socket` is bound to.
    public static func port(of socket: Int32) throws(SystemError) -> UInt16 {
        UInt16(try check(platform_tcp_port(socket), "getsockname"))
    }
}
