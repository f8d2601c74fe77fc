internal import CVerbs
internal import Platform

/// Takes connection requests at an address. Confined to its channel's thread.
@safe
public final class Listener: EventTarget {
    public let endpoint: RDMAEndpoint
    public let backlog: Int
    private let identifier: UnsafeMutablePointer<rdma_cm_id>
    private let channel: EventChannel
    private var waiting: [Connection] = []
    var deadline: UInt64? { nil }

    /// - Parameter backlog: requests that wait for `next` at most; further ones are rejected.
    public init(
        on channel: EventChannel, at endpoint: RDMAEndpoint, backlog: Int = 128
    ) throws(RDMAError) {
        precondition(backlog > 0)
        unsafe identifier = try channel.createIdentifier()
        self.channel = channel
        self.endpoint = endpoint
        self.backlog = backlog
        let result = unsafe cm_listen(identifier, endpoint.address, endpoint.port, Int32(backlog))
        if result == -ErrorNumber.invalid { throw .notAnAddress(endpoint.address) }
        if result != 0 { throw .system("listen at \(endpoint)", result) }
        unsafe channel.add(self, for: identifier)
    }

    deinit { unsafe channel.destroy(identifier) }

    /// The oldest request whose peer has not given up: a connection in state `requested`.
    public func next() -> Connection? {
        dropClosed()
        return waiting.isEmpty ? nil : waiting.removeFirst()
    }

    private func dropClosed() { waiting.removeAll { $0.state != .requested } }

    @unsafe func handle(_ event: cm_event) {
        guard unsafe event.kind == RDMA_CM_EVENT_CONNECT_REQUEST, let asking = unsafe event.id
        else {
            return
        }
        dropClosed()
        if waiting.count == backlog {
            unsafe _ = cm_reject(asking, nil, 0)
            unsafe rdma_destroy_id(asking)
            return
        }
        unsafe waiting.append(Connection(asking: asking, event, on: channel))
    }

    func expire(now: UInt64) {}
}
