internal import CWire
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

    /// Pinned sends that the kernel copied after all, in a row, until it is not asked any more.
    private static let copyLimit = 16

    private let acknowledgesQuickly: Bool
    /// Whether large data is sent pinned.
    private(set) var isPinning = false
    private var copiesInRow = 0
    private var pinnedCount: UInt64 = 0
    private var copiedCount: UInt64 = 0
    private var pollCount: UInt64 = 0
    private var idlePollCount: UInt64 = 0
    private var callCount: UInt64 = 0

    init(_ queue: QueuePair, _ socket: SharedDescriptor, acknowledgesQuickly: Bool = false) {
        self.acknowledgesQuickly = acknowledgesQuickly
        self.queue = queue
        self.socket = socket
        isPinning = queue.options.pinnedByteCount > 0 && TCPSocket.allowPins(socket.number)
    }

    /// Connects to the target of `options`; the negotiation follows. Waits on the calling thread,
    /// as long as the path's patience at most.
    convenience init(
        to options: PathOptions, _ role: QueueRole, _ attend: () throws(PathFault) -> Void
    ) throws(PathFault) {
        var terms = QueuePair.Options(depth: role.depth)
        terms.wantsHeaderDigest = options.hasHeaderDigest
        terms.wantsDataDigest = options.hasDataDigest
        terms.pinnedByteCount = options.socket.pinnedByteCount
        do throws(SystemError) {
            let socket = try TCPSocket.connect(
                to: options.address, port: options.port, from: options.hostAddress,
                options.socket, milliseconds: options.timers.patienceMilliseconds
            ) { (try? attend()) != nil }
            self.init(
                try QueuePair(terms), SharedDescriptor(socket),
                acknowledgesQuickly: options.socket.acknowledgesQuickly)
        } catch {
            throw PathFault(
                error.code, "\(error); check traddr and trsvcid, and that the target runs")
        }
        // For Connect, whichever queue it is.
        queue.capsuleDataByteCount = Int(NVME_TCP_ADMIN_CAPSULE_DATA_BYTES)
    }

    /// Since it was made.
    var work: PathWork {
        PathWork(
            commands: queue.commandCount, direct: queue.directByteCount,
            staged: queue.stagedByteCount, polls: pollCount, idlePolls: idlePollCount,
            systemCalls: callCount, pinnedSends: pinnedCount, copiedSends: copiedCount)
    }

    /// Sends what there is to send, as far as the socket takes it.
    func push() {
        isSendBlocked = false
        while true {
            let list = queue.outgoing()
            if list.count == 0 { return }
            let isPinned = isPinning && queue.outgoingMayBePinned
            switch send(list, isPinned: isPinned) {
            case .moved(let count):
                queue.sent(count, isPinned: isPinned)
                if isPinned { pinnedCount &+= 1 }
            case .blocked:
                isSendBlocked = true
                return
            case .ended(ErrorNumber.noBuffers) where isPinned:
                if !sendUnpinned(list) { return }
            case .ended: return queue.end(.broken)
            }
        }
    }

    private func send(_ list: SegmentList, isPinned: Bool) -> StreamResult {
        callCount &+= 1
        return list.send(
            to: socket.number, isPinned: isPinned, hasMore: queue.outgoingIsFollowed(list))
    }

    /// The kernel locks no more pages for this process (`ulimit -l`), or has no room for notices
    /// (net.core.optmem_max). Where no notice can make room, nothing is pinned from here on.
    /// - Returns: whether the socket may take more.
    private func sendUnpinned(_ list: SegmentList) -> Bool {
        if !queue.hasPins { isPinning = false }
        switch send(list, isPinned: false) {
        case .moved(let count):
            queue.sent(count)
            return true
        case .blocked: isSendBlocked = true
        case .ended: queue.end(.broken)
        }
        return false
    }

    private func takeNotices() {
        while queue.hasPins {
            callCount &+= 1
            guard let notice = TCPSocket.nextNotice(socket.number) else { return }
            queue.unpinned(notice.first, notice.last)
            let count = Int(notice.last &- notice.first) &+ 1
            copiesInRow = notice.isCopied ? copiesInRow &+ count : 0
            if notice.isCopied { copiedCount &+= UInt64(count) }
            // Both ends are in this machine, or its network card takes one piece only.
            if copiesInRow >= TCPConnection.copyLimit { isPinning = false }
        }
    }

    /// Receives what has come.
    func pull() {
        mayHaveMore = false
        takeNotices()
        defer { if acknowledgesQuickly { acknowledge() } }
        for _ in 0..<TCPConnection.receiveLimit {
            let list = queue.incoming()
            if list.count == 0 { return }
            callCount &+= 1
            switch list.receive(from: socket.number) {
            case .moved(let count):
                pollCount &+= 1
                queue.received(count)
                // A short read has emptied the socket; what comes later is an event.
                if count < list.byteCount { return }
            case .blocked:
                idlePollCount &+= 1
                return
            case .ended(let code): return queue.end(code == nil ? .closed : .broken)
            }
        }
        mayHaveMore = true
    }

    private func acknowledge() {
        callCount &+= 1
        TCPSocket.acknowledge(socket.number)
    }
}
