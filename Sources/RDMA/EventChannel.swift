internal import CVerbs

/// Where the connection manager reports on connections and listeners (librdmacm). Confined to one
/// thread, as all that is made on it is. Nothing here waits: the owner calls `dispatch` whenever
/// `descriptor` is readable, and at `nextDeadline`.
@safe
public final class EventChannel {
    private let channel: UnsafeMutablePointer<rdma_event_channel>
    private var endpoints: [UInt: Endpoint] = [:]

    /// What an event can be about. Takes itself out before it ends.
    struct Endpoint {
        weak var target: (any EventTarget)?
    }

    public init() throws(RDMAError) {
        var made: UnsafeMutablePointer<rdma_event_channel>?
        let result = unsafe cm_open_channel(&made)
        guard let made = unsafe made else {
            throw .system("rdma_create_event_channel (modprobe rdma_ucm)", result)
        }
        unsafe channel = made
    }

    deinit { unsafe rdma_destroy_event_channel(channel) }

    public var descriptor: Int32 { unsafe channel.pointee.fd }

    /// When `dispatch` is due without an event (CLOCK_MONOTONIC, nanoseconds).
    public var nextDeadline: UInt64? { endpoints.values.compactMap { $0.target?.deadline }.min() }

    /// Tells connections and listeners what has happened to them: at most 64 events, then
    /// `descriptor` is readable still.
    public func dispatch(now: UInt64) throws(RDMAError) {
        var event = unsafe cm_event()
        for _ in 0..<64 {
            let result = unsafe cm_next_event(channel, &event)
            if result < 0 { throw .system("rdma_get_cm_event", result) }
            if result == 0 { break }
            unsafe deliver(event)
        }
        for endpoint in Array(endpoints.values) { endpoint.target?.expire(now: now) }
    }

    @unsafe private func deliver(_ event: cm_event) {
        let isRequest = unsafe event.kind == RDMA_CM_EVENT_CONNECT_REQUEST
        let subject = unsafe isRequest ? event.listener : event.id
        guard let target = endpoints[UInt(bitPattern: subject)]?.target else {
            // A request for a listener that is gone.
            if isRequest { unsafe rdma_destroy_id(event.id) }
            return
        }
        unsafe target.handle(event)
    }

    // MARK: Identifiers

    func createIdentifier() throws(RDMAError) -> UnsafeMutablePointer<rdma_cm_id> {
        var made: UnsafeMutablePointer<rdma_cm_id>?
        let result = unsafe cm_create_id(channel, &made)
        guard let made = unsafe made else { throw .system("rdma_create_id", result) }
        return unsafe made
    }

    func add(_ target: any EventTarget, for identifier: UnsafeMutablePointer<rdma_cm_id>) {
        endpoints[UInt(bitPattern: identifier)] = Endpoint(target: target)
    }

    /// Ends `identifier`; no event names it from here on.
    func destroy(_ identifier: UnsafeMutablePointer<rdma_cm_id>) {
        endpoints[UInt(bitPattern: identifier)] = nil
        unsafe rdma_destroy_id(identifier)
    }
}

/// A connection or a listener.
protocol EventTarget: AnyObject {
    var deadline: UInt64? { get }
    @unsafe func handle(_ event: cm_event)
    func expire(now: UInt64)
}

/// A numeric IPv4 or IPv6 address and a port of the RDMA connection manager.
public struct RDMAEndpoint: Hashable, Sendable, CustomStringConvertible {
    public let address: String
    public let port: UInt16

    public init(_ address: String, port: UInt16) {
        self.address = address
        self.port = port
    }

    public var description: String {
        address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
}
