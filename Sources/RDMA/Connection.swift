internal import CVerbs
internal import Platform

/// A connection between a queue pair here and one of a peer, by librdmacm. Confined to its
/// channel's thread; `EventChannel.dispatch` moves it on, and nothing here waits.
///
/// Keeps its queue pair, which fails when the connection closes: what is under way is flushed.
@safe
public final class Connection: EventTarget {
    /// Bytes that the messages of the connection manager carry for their users.
    public enum PrivateData {
        public static let ofConnect = 56
        public static let ofAccept = 196
        public static let ofReject = 148
    }

    /// An answer that does not come is asked for so often (7 means for ever on some devices).
    static let retryCount: UInt8 = 6
    /// The count that has no end (IBA 9.7.5.2.8).
    static let endlessRetryCount: UInt8 = 7
    /// Until then a device waits for an answer: 4.096 µs << 16. A dead peer is known after 1.9 s.
    static let acknowledgeTimeout: UInt8 = 16
    /// A peer without a receive request is asked again after 10.24 ms (IBA 9.7.5.2.8).
    static let receiverNotReadyTimer: UInt8 = 20

    public private(set) var state: ConnectionState
    /// What the peer sent along: with its request, or with its answer. Zeros follow up to the
    /// message's size.
    public private(set) var privateData: [UInt8] = []
    public private(set) var queuePair: QueuePair?
    let identifier: UnsafeMutablePointer<rdma_cm_id>
    /// Whether either side waits for ever for the other's receive requests: for peers that are
    /// trusted to post some. Set before `connect` or `accept`; a dead peer is noticed all the same.
    public var waitsForReceives = false
    private let channel: EventChannel
    /// RDMA READs that a peer that asks would have under way, and lets us have.
    let peerReads: (initiated: UInt8, answered: UInt8)?

    /// Starts to look for `peer`; `resolved` or `closed` follows by `deadline`.
    public init(
        on channel: EventChannel, to peer: RDMAEndpoint, now: UInt64, deadline: UInt64
    ) throws(RDMAError) {
        state = .resolvingAddress(deadline: deadline)
        peerReads = nil
        self.channel = channel
        unsafe identifier = try channel.createIdentifier()
        let result = unsafe cm_resolve_address(
            identifier, peer.address, peer.port, Connection.milliseconds(now, deadline))
        if result == -ErrorNumber.invalid { throw .notAnAddress(peer.address) }
        if result != 0 { state = .closed(.unreachable(-result)) }
        unsafe channel.add(self, for: identifier)
    }

    /// A peer that asks, as `event` says.
    @unsafe init(
        asking identifier: UnsafeMutablePointer<rdma_cm_id>, _ event: cm_event,
        on channel: EventChannel
    ) {
        state = .requested
        self.channel = channel
        unsafe self.identifier = unsafe identifier
        unsafe peerReads = (event.initiator_depth, event.responder_resources)
        unsafe privateData = event.data
        unsafe channel.add(self, for: identifier)
    }

    deinit {
        close()
        unsafe channel.destroy(identifier)
    }

    /// The device that reaches the peer. In state `resolved` or `requested`.
    public func device() throws(RDMAError) -> VerbsDevice {
        guard let context = unsafe identifier.pointee.verbs else {
            preconditionFailure("no device is known in state \(state)")
        }
        return unsafe try VerbsDevice(of: context)
    }

    var deadline: UInt64? { state.deadline }

    // MARK: Steps

    /// Makes `queuePair` this connection's: receive requests may be posted from here on. A peer may
    /// close a connection at any time, so this and the next steps may come too late (`outOfOrder`).
    public func attach(_ queuePair: QueuePair) throws(RDMAError) {
        guard state == .resolved || state == .requested else {
            throw .outOfOrder(step: "attach a queue pair", state)
        }
        let own = queuePair.domain.device
        guard unsafe own.context == identifier.pointee.verbs else {
            throw .wrongDevice(own.name, connection: try device().name)
        }
        try move(queuePair, to: IBV_QPS_INIT)
        self.queuePair = queuePair
    }

    /// Asks the peer, with a queue pair attached; `established` or `closed` follows by
    /// `deadline`.
    public func connect(privateData: [UInt8] = [], deadline: UInt64) throws(RDMAError) {
        guard state == .resolved, queuePair != nil else {
            throw .outOfOrder(step: "connect", state)
        }
        let result = unsafe try call(privateData, limit: PrivateData.ofConnect) { parameters in
            unsafe cm_connect(identifier, &parameters)
        }
        if result != 0 { throw .system("rdma_connect", result) }
        state = .connecting(deadline: deadline)
    }

    /// Lets the peer in, with a queue pair attached; `established` or `closed` follows by
    /// `deadline`.
    public func accept(privateData: [UInt8] = [], deadline: UInt64) throws(RDMAError) {
        guard state == .requested, let queuePair else {
            throw .outOfOrder(step: "accept", state)
        }
        try move(queuePair, to: IBV_QPS_RTR)
        try move(queuePair, to: IBV_QPS_RTS)
        let result = unsafe try call(privateData, limit: PrivateData.ofAccept) { parameters in
            unsafe cm_accept(identifier, &parameters)
        }
        if result != 0 { throw .system("rdma_accept", result) }
        state = .connecting(deadline: deadline)
    }

    /// Sends the peer away.
    public func reject(privateData: [UInt8] = []) throws(RDMAError) {
        guard state == .requested else { throw .outOfOrder(step: "reject", state) }
        let count = try Connection.length(of: privateData, limit: PrivateData.ofReject)
        let result = unsafe cm_reject(identifier, privateData, count)
        end(.closedHere)
        if result != 0 { throw .system("rdma_reject", result) }
    }

    /// Ends the connection, whatever its state.
    public func close() {
        if case .closed = state { return }
        unsafe _ = cm_disconnect(identifier)
        end(.closedHere)
    }

    // MARK: Events

    @unsafe func handle(_ event: cm_event) {
        guard let event = unsafe receive(event), let next = state.after(event) else { return }
        if case .closed(let end) = next { return self.end(end) }
        state = next
        if case .resolvingRoute(let deadline) = next {
            let left = Connection.milliseconds(Clock.monotonicNanoseconds(), deadline)
            let result = unsafe cm_resolve_route(identifier, left)
            if result != 0 { end(.unreachable(-result)) }
        }
    }

    /// What `event` means to this side, once it has been answered.
    @unsafe private func receive(_ event: cm_event) -> ConnectionEvent? {
        let meaning = unsafe event.meaning
        if case .accepted = meaning {
            unsafe privateData = event.data
            return answer()
        }
        if case .ended(.closedByPeer) = meaning { unsafe _ = cm_disconnect(identifier) }
        return meaning
    }

    /// Readies the queue pair for a peer that accepted, and tells it so.
    private func answer() -> ConnectionEvent? {
        guard case .connecting = state, let queuePair else { return nil }
        do throws(RDMAError) {
            // Only now the connection manager knows that the peer may read here.
            try move(queuePair, to: IBV_QPS_INIT)
            try move(queuePair, to: IBV_QPS_RTR)
            try move(queuePair, to: IBV_QPS_RTS)
            let result = unsafe cm_establish(identifier)
            if result != 0 { throw .system("rdma_establish", result) }
            return .established
        } catch {
            return .ended(.failed(error))
        }
    }

    func expire(now: UInt64) {
        guard let deadline, now >= deadline else { return }
        let name = "\(state)".prefix { $0 != "(" }
        unsafe _ = cm_disconnect(identifier)
        end(.timedOut(String(name)))
    }

    private func end(_ end: ConnectionEnd) {
        state = .closed(end)
        // What refuses to fail is gone already.
        try? queuePair?.fail()
    }
}
