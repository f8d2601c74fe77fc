internal import Platform

/// Messages from a stream socket. Reads exactly one message at a time, so that descriptors stay
/// with the message they came with.
public struct VFIOUserStream {
    private let socket: Int32
    private var header: [UInt8] = []
    private var payload: [UInt8] = []
    private var descriptors: [SharedDescriptor] = []

    /// What a read found.
    public enum Event: Sendable {
        case message(VFIOUserMessage)
        /// Nothing complete yet.
        case incomplete
        case closed
    }

    /// - Parameter socket: the caller keeps it open.
    public init(socket: Int32) { self.socket = socket }

    /// Takes what has arrived, up to the end of one message. Never waits.
    ///
    /// A message that is too long, of an unknown type or with more than
    /// `VFIOUserMessage.descriptorLimit` descriptors is an error: the connection must end.
    public mutating func next() throws(VFIOUserError) -> Event {
        let headerByteCount = VFIOUserMessage.headerByteCount
        while true {
            let isInHeader = header.count < headerByteCount
            let wanted =
                isInHeader
                ? headerByteCount - header.count
                : try VFIOUserMessage.payloadByteCount(header: header) - payload.count
            if !isInHeader && wanted == 0 { return .message(take()) }
            let part: ReceivedMessage
            do {
                guard let received = try UnixSocket.receive(upTo: wanted, from: socket) else {
                    return .incomplete
                }
                part = received
            } catch { throw VFIOUserError(error.code, "\(error)") }
            if part.bytes.isEmpty { return .closed }
            descriptors += part.descriptors
            guard descriptors.count <= VFIOUserMessage.descriptorLimit else {
                throw VFIOUserError(
                    ErrorNumber.messageSize,
                    "message with more than \(VFIOUserMessage.descriptorLimit) descriptors")
            }
            if isInHeader { header += part.bytes } else { payload += part.bytes }
        }
    }

    private mutating func take() -> VFIOUserMessage {
        let message = VFIOUserMessage(header: header, payload: payload, descriptors: descriptors)
        header = []
        payload = []
        descriptors = []
        return message
    }
}
