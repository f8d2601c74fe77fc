internal import Platform

/// Messages from a stream socket. Reads exactly one message at a time, so that descriptors stay
/// with the message they came with.
public struct VhostUserStream {
    private let socket: Int32
    private var header: [UInt8] = []
    private var payload: [UInt8] = []
    private var descriptors: [SharedDescriptor] = []

    /// What a read found.
    public enum Event: Sendable {
        case message(VhostUserMessage)
        /// Nothing complete yet.
        case incomplete
        case closed
    }

    /// - Parameter socket: non-blocking; the caller keeps it open.
    public init(socket: Int32) { self.socket = socket }

    public mutating func next() throws(VhostUserError) -> Event {
        let headerByteCount = VhostUserMessage.headerByteCount
        while true {
            let isInHeader = header.count < headerByteCount
            let wanted =
                isInHeader
                ? headerByteCount - header.count
                : try VhostUserMessage.payloadByteCount(header: header) - payload.count
            if !isInHeader && wanted == 0 { return .message(take()) }
            let part: ReceivedMessage
            do {
                guard let received = try UnixSocket.receive(upTo: wanted, from: socket) else {
                    return .incomplete
                }
                part = received
            } catch { throw VhostUserError("\(error)") }
            if part.bytes.isEmpty { return .closed }
            descriptors += part.descriptors
            if isInHeader { header += part.bytes } else { payload += part.bytes }
        }
    }

    private mutating func take() -> VhostUserMessage {
        let message = VhostUserMessage(header: header, payload: payload, descriptors: descriptors)
        header = []
        payload = []
        descriptors = []
        return message
    }
}
