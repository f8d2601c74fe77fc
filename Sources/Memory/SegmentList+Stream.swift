internal import CPlatform
internal import Glibc

/// How moving bytes through a socket ended.
public enum StreamResult: Equatable, Sendable {
    /// So many bytes moved, at least one.
    case moved(Int)
    /// Nothing can move now.
    case blocked
    /// The peer has closed, or the connection broke with this errno.
    case ended(Int32?)
}

/// Bytes of a stream socket, from and to listed memory: no copy between, no waiting.
extension SegmentList {
    /// Lists longer than this are cut (IOV_MAX).
    private static let limit = 1024

    /// Sends the first of the listed bytes, as many as go now.
    ///
    /// - Parameters:
    ///   - isPinned: the kernel reads the memory until `TCPSocket.nextNotice` says that it does not
    ///     any more; ended with ENOBUFS: it takes no pinned send now, and the connection lives.
    ///   - hasMore: other bytes follow at once, so a packet need not be sent for these.
    public func send(
        to socket: Int32, isPinned: Bool = false, hasMore: Bool = false
    ) -> StreamResult {
        let size = min(count, SegmentList.limit)
        let more: Int32 = hasMore ? 1 : 0
        let count = unsafe pointer.withMemoryRebound(to: iovec.self, capacity: self.count) {
            isPinned
                ? unsafe platform_stream_send_pinned(socket, $0, size, more)
                : unsafe platform_stream_send(socket, $0, size, more)
        }
        return SegmentList.result(count)
    }

    /// Fills the first of the listed places, as far as bytes are there.
    public func receive(from socket: Int32) -> StreamResult {
        let count = unsafe pointer.withMemoryRebound(to: iovec.self, capacity: self.count) {
            unsafe platform_stream_receive(socket, $0, min(self.count, SegmentList.limit))
        }
        return count == 0 ? .ended(nil) : SegmentList.result(count)
    }

    private static func result(_ count: Int) -> StreamResult {
        if count >= 0 { return .moved(count) }
        if errno == EAGAIN || errno == EINTR { return .blocked }
        return .ended(errno)
    }
}
