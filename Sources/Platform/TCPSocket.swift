internal import CPlatform
internal import Glibc

/// Non-blocking TCP sockets without Nagle's delay (tcp(7)). Addresses are numeric, IPv4 or IPv6.
public enum TCPSocket {
    public enum Family: Sendable {
        case ipv4, ipv6
    }

    /// Nil for text that is no numeric address.
    public static func family(of address: String) -> Family? {
        switch unsafe platform_address_family(address) {
        case AF_INET: .ipv4
        case AF_INET6: .ipv6
        default: nil
        }
    }

    /// Connects, from `local` unless it is empty.
    ///
    /// Waits on the calling thread for `milliseconds` at most (ETIMEDOUT), and asks every 20 ms
    /// whether the connection is still wanted (ECANCELED). EINVAL: no numeric address; what
    /// connect(2) says otherwise.
    public static func connect(
        to address: String, port: UInt16, from local: String = "", milliseconds: UInt64,
        while isWanted: () -> Bool = { true }
    ) throws(SystemError) -> FileDescriptor {
        let call = "connect to \(address) port \(port)"
        let number =
            if local.isEmpty {
                unsafe platform_tcp_connect(address, port, nil)
            } else {
                unsafe platform_tcp_connect(address, port, local)
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

    /// A listening socket; port 0 takes a free one. `UnixSocket.accept` takes its connections.
    public static func listen(
        at address: String, port: UInt16 = 0
    ) throws(SystemError) -> FileDescriptor {
        FileDescriptor(
            owning: try check(
                unsafe platform_tcp_listen(address, port), "listen at \(address) port \(port)"))
    }

    /// The port that `socket` is bound to.
    public static func port(of socket: Int32) throws(SystemError) -> UInt16 {
        UInt16(try check(platform_tcp_port(socket), "getsockname"))
    }
}
