public import Platform

/// Why a server does not listen.
public enum RPCServerError: Error, CustomStringConvertible {
    /// Another process holds the lock of the socket.
    case inUse(path: String)
    /// A Unix socket's path has room for 107 bytes (sun_path of unix(7)).
    case pathTooLong(path: String)
    /// There is something at the path, and it is not a socket, so it is left alone.
    case notASocket(path: String)
    case lock(SystemError)
    case listen(address: String, reason: String)

    public var description: String {
        switch self {
        case .inUse(let path):
            "RPC Unix domain socket path \(path) in use. Specify another."
        case .pathTooLong(let path):
            "RPC Unix domain socket path \(path) is longer than 107 bytes"
        case .notASocket(let path): "\(path) exists and is not a socket"
        case .lock(let error): "cannot lock the RPC socket: \(error)"
        case .listen(let address, let reason): "cannot listen on \(address): \(reason)"
        }
    }
}
