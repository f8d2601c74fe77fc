internal import Platform
internal import RDMA

/// The connection under a capsule queue. Confined to the thread of its path, which calls
/// `dispatch` whenever `descriptor` is readable. When it closes, the queue pair fails.
final class RDMALine {
    private let events: EventChannel
    let connection: Connection

    /// Starts to look for the target.
    init(_ options: PathOptions, deadline: UInt64) throws(RDMAError) {
        events = try EventChannel()
        connection = try Connection(
            on: events, to: RDMAEndpoint(options.address, port: options.port),
            now: Clock.monotonicNanoseconds(), deadline: deadline)
    }

    var descriptor: Int32 { events.descriptor }

    func dispatch() {
        // What it says of the connection is in its state.
        try? events.dispatch(now: Clock.monotonicNanoseconds())
    }

    func close() { connection.close() }
}
