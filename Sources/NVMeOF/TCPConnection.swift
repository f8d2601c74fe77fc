internal import Memory
internal import Platform

/// A queue pair on its socket.
final class TCPConnection: @unchecked Sendable {
    // Sendable: the path's thread makes it, posts it to a reactor and forgets it.

    /// Calls of recvmsg(2) in one turn.
    private static let receiveLimit = 16

    let queue: QueuePair
    /// The path keeps a hold on it too, to shut it down.
    let socket: SharedDescriptor
    /// Among the connections of its berth.
    var number: UInt64 = 0
    /// The socket takes no more now.
    private(set) var isSendBlocked = false
    /// The last turn ended before the socket was empty.
    private(set) var mayHaveMore = false

    init(_ queue: QueuePair, _ socket: SharedDescriptor) {
        self.queue = queue
        self.socket = socket
    }

    /// Sends what there is to send, as far as the socket takes it.
    func push() {
        isSendBlocked = false
        while true {
            let list = queue.outgoing()
            if list.count == 0 { return }
            switch list.send(to: socket.number) {
            case .moved(let count): queue.sent(count)
            case .blocked:
                isSendBlocked = true
                return
            case .ended: return queue.end(.broken)
            }
        }
    }

    /// Receives what has come.
    func pull() {
        mayHaveMore = false
        for _ in 0..<TCPConnection.receiveLimit {
            let list = queue.incoming()
            if list.count == 0 { return }
            switch list.receive(from: socket.number) {
            case .moved(let count):
                queue.received(count)
                // A short read has emptied the socket; what comes later is an event.
                if count < list.byteCount { return }
            case .blocked: return
            case .ended(let code): return queue.end(code == nil ? .closed : .broken)
            }
        }
        mayHaveMore = true
    }
}
