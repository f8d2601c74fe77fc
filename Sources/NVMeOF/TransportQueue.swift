internal import CWire
internal import Platform

/// A queue pair with what carries it. One thread at a time uses it.
enum TransportQueue: Sendable {
    case tcp(TCPConnection)
    case rdma(RDMAConnection)

    /// Among the connections of its berth.
    var number: UInt64 {
        get {
            switch self {
            case .tcp(let connection): connection.number
            case .rdma(let connection): connection.number
            }
        }
        nonmutating set {
            switch self {
            case .tcp(let connection): connection.number = newValue
            case .rdma(let connection): connection.number = newValue
            }
        }
    }

    /// Readable when something has come.
    var descriptor: Int32 {
        switch self {
        case .tcp(let connection): connection.socket.number
        case .rdma(let connection): connection.descriptor
        }
    }

    var phase: QueuePair.Phase {
        switch self {
        case .tcp(let connection): connection.queue.phase
        case .rdma(let connection): connection.queue.phase
        }
    }

    /// The most commands outstanding at once.
    var depth: Int {
        switch self {
        case .tcp(let connection): connection.queue.options.depth
        case .rdma(let connection): connection.queue.shape.depth
        }
    }

    var outstanding: Int {
        switch self {
        case .tcp(let connection): connection.queue.outstanding
        case .rdma(let connection): connection.queue.outstanding
        }
    }

    var hasRoom: Bool {
        switch self {
        case .tcp(let connection): connection.queue.hasRoom
        case .rdma(let connection): connection.queue.hasRoom
        }
    }

    /// Whether the target reads the data of writes where it is.
    var isReached: Bool {
        switch self {
        case .tcp: false
        case .rdma: true
        }
    }

    /// Since it was made.
    var work: PathWork {
        switch self {
        case .tcp(let connection): connection.work
        case .rdma(let connection): connection.work
        }
    }

    // MARK: Commands

    func start(_ command: nvme_sqe, _ transfer: QueuePair.Transfer, token: UInt64) {
        switch self {
        case .tcp(let connection): connection.queue.start(command, transfer, token: token)
        case .rdma(let connection): connection.queue.start(command, transfer, token: token)
        }
    }

    /// Of an outstanding command.
    func identifier(token: UInt64) -> UInt16? {
        switch self {
        case .tcp(let connection): connection.queue.identifier(token: token)
        case .rdma(let connection): connection.queue.identifier(token: token)
        }
    }

    func revokeRead(token: UInt64) -> Bool {
        switch self {
        case .tcp(let connection): connection.queue.revokeRead(token: token)
        case .rdma(let connection): connection.queue.revokeRead(token: token)
        }
    }

    func nextCompletion() -> QueuePair.Completion? {
        switch self {
        case .tcp(let connection): connection.queue.nextCompletion()
        case .rdma(let connection): connection.queue.nextCompletion()
        }
    }

    func nextLost() -> UInt64? {
        switch self {
        case .tcp(let connection): connection.queue.nextLost()
        case .rdma(let connection): connection.queue.nextLost()
        }
    }

    /// Ends the connection, by and by over RDMA.
    func end(_ fault: ConnectionFault) {
        switch self {
        case .tcp(let connection): connection.queue.end(fault)
        case .rdma(let connection):
            connection.queue.end(fault)
            connection.pull()
        }
    }

    // MARK: Turns

    /// Sends what there is to send, as far as that goes now.
    func push() {
        switch self {
        case .tcp(let connection): connection.push()
        case .rdma(let connection): connection.push()
        }
    }

    /// Takes what has come.
    func pull() {
        switch self {
        case .tcp(let connection): connection.pull()
        case .rdma(let connection): connection.pull()
        }
    }

    /// Whether polling is useful without an event; asked before a sleep.
    func isHeldUp() -> Bool {
        switch self {
        case .tcp(let connection):
            connection.isSendBlocked || connection.mayHaveMore
                || connection.queue.phase != .ready
        case .rdma(let connection): !connection.isAsleep()
        }
    }

    /// Has the descriptor tell of what comes next.
    /// - Returns: nanoseconds until it is useful to look without an event; nil: only an event can
    ///   bring something.
    func rest() -> UInt64? {
        switch self {
        case .tcp(let connection):
            return connection.isSendBlocked || connection.mayHaveMore ? 200_000 : nil
        case .rdma(let connection):
            if connection.rest() { return nil }
            return connection.queue.phase == .ready ? 0 : 200_000
        }
    }
}

/// What the path's thread keeps of a connection that it has given away.
enum Lifeline {
    case socket(SharedDescriptor)
    case line(RDMALine)

    /// Has the connection end; its user sees that by what it receives.
    func cut() {
        switch self {
        case .socket(let socket): UnixSocket.shutDown(socket.number)
        case .line(let line): line.close()
        }
    }
}
