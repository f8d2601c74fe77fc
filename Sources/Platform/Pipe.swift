internal import CPlatform
internal import Glibc

/// A pipe between sockets. The kernel moves bytes in one step (splice(2)), so what a pipe holds
/// says how far a move has come, whenever the mover was killed.
public struct Pipe: Sendable {
    /// Room for one message of the longest kind.
    public static let byteLimit = 128 * 1024

    public let output: SharedDescriptor
    public let input: SharedDescriptor

    /// A new pipe, which never blocks.
    public init() throws(SystemError) {
        var ends: [Int32] = [0, 0]
        try check(unsafe platform_pipe(&ends, Int32(Self.byteLimit)), "pipe")
        output = SharedDescriptor(FileDescriptor(owning: ends[0]))
        input = SharedDescriptor(FileDescriptor(owning: ends[1]))
    }

    /// A pipe whose two ends were kept.
    public init(output: SharedDescriptor, input: SharedDescriptor) {
        self.output = output
        self.input = input
    }

    /// Bytes that it holds.
    public var byteCount: Int { max(0, Int(platform_readable_bytes(output.number))) }

    /// Throws away what it holds.
    public func drain() {
        var left = byteCount
        while left > 0 {
            guard let part = read(left) else { return }
            left -= part.count
        }
    }

    private func read(_ byteCount: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        let count = unsafe Glibc.read(output.number, &bytes, byteCount)
        guard count > 0 else { return nil }
        bytes.removeLast(byteCount - count)
        return bytes
    }

    /// Puts `bytes` in: all of them, or none and false.
    public func fill(_ bytes: [UInt8]) -> Bool {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            unsafe Glibc.write(input.number, buffer.baseAddress, buffer.count)
        }
        if count == bytes.count { return true }
        drain()
        return false
    }

    /// Takes exactly `byteCount` bytes that wait in `socket`.
    public func take(_ byteCount: Int, from socket: Int32) -> Bool {
        var left = byteCount
        while left > 0 {
            let moved = platform_splice(socket, input.number, left)
            if moved < 0 && errno == EINTR { continue }
            guard moved > 0 else { return false }
            left -= moved
        }
        return true
    }

    /// Sends everything into `socket`. False: it takes no more now, or for ever.
    public func flush(into socket: Int32) -> Bool {
        while byteCount > 0 {
            let moved = platform_splice(output.number, socket, Self.byteLimit)
            if moved < 0 && errno == EINTR { continue }
            guard moved > 0 else { return false }
        }
        return true
    }
}
