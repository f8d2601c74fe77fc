/// The life of a connection, as its owner and the connection manager change it.
///
///     resolvingAddress → resolvingRoute → resolved ─┐              (the side that connects)
///                                                   ├→ connecting → established → closed
///                                        requested ─┘              (the side that listens)
///
/// Every state may go to `closed`, and stays there.
public enum ConnectionState: Equatable, Sendable {
    /// Waits until `deadline` (CLOCK_MONOTONIC, nanoseconds), as the two after it do.
    case resolvingAddress(deadline: UInt64)
    case resolvingRoute(deadline: UInt64)
    /// The peer's device is known, and which of ours reaches it; attach a queue pair and connect.
    case resolved
    /// A peer has asked; attach a queue pair and accept, or reject.
    case requested
    case connecting(deadline: UInt64)
    case established
    case closed(ConnectionEnd)

    var deadline: UInt64? {
        switch self {
        case .resolvingAddress(let deadline), .resolvingRoute(let deadline),
            .connecting(let deadline):
            deadline
        case .resolved, .requested, .established, .closed: nil
        }
    }

    /// The state that follows what the connection manager says; nil: it says nothing new.
    func after(_ event: ConnectionEvent) -> ConnectionState? {
        switch (self, event) {
        case (.closed, _): nil
        case (_, .ended(let end)): .closed(end)
        case (.resolvingAddress(let deadline), .addressResolved):
            .resolvingRoute(deadline: deadline)
        case (.resolvingRoute, .routeResolved): .resolved
        case (.connecting, .established): .established
        default: nil
        }
    }
}

/// Why a connection is no more.
public enum ConnectionEnd: Equatable, Sendable {
    case closedHere
    case closedByPeer
    /// The peer refused: its listener with `privateData` (reason 28), or its connection manager
    /// because nobody listens (8), or for another reason of IBA 12.6.7.2.
    case rejected(reason: Int, privateData: [UInt8])
    /// No route, no address, no device there (errno).
    case unreachable(Int32)
    /// The peer did not answer before the deadline of the state named.
    case timedOut(String)
    case deviceRemoved
    /// This side could not go on.
    case failed(RDMAError)
}

/// What the connection manager says of a connection.
enum ConnectionEvent: Equatable {
    case addressResolved
    case routeResolved
    /// The peer accepted; this side has to answer.
    case accepted
    case established
    case ended(ConnectionEnd)
}
