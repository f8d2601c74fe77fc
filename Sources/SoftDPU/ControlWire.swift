internal import Platform

/// How control messages travel: over a packet socket on one machine, or over TCP between two.
///
/// Any thread may send, one at a time, and one thread receives.
protocol ControlWire: AnyObject, Sendable {
    /// Readable when messages may have come.
    var number: Int32 { get }
    var carriesDescriptors: Bool { get }
    /// Whether bytes of a message that was taken wait for room: `flush` sends them.
    var hasUnsent: Bool { get }
    /// Whether the other end has shown who it is.
    var isProven: Bool { get }

    /// The next message; nil when none waits.
    func receive() throws(ControlLinkError) -> ControlMessage?
    /// False when there is no room; the message has not been taken then.
    func send(_ message: ControlMessage) throws(ControlLinkError) -> Bool
    func flush() throws(ControlLinkError)
}

/// A packet socket: who can open it may use it.
final class PacketWire: ControlWire {
    private let socket: SharedDescriptor

    init(_ socket: SharedDescriptor) { self.socket = socket }

    var number: Int32 { socket.number }
    var carriesDescriptors: Bool { true }
    var hasUnsent: Bool { false }
    var isProven: Bool { true }

    func receive() throws(ControlLinkError) -> ControlMessage? {
        try ControlMessage.receive(from: socket.number)
    }

    func send(_ message: ControlMessage) throws(ControlLinkError) -> Bool {
        try message.send(to: socket.number)
    }

    func flush() {}
}
