internal import Platform

/// Messages from a stream socket. Reads exactly one message at a time, so that descriptors stay
/// with the message they came with.
public struct VFIOUserStream {
    private let socket: Int32
    /// Whether messages stay in the socket until whoever takes them removes them.
    private let isPeeking: Bool
    /// Bytes of the last message, header included.
    public private(set) var messageByteCount = 0
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
    /// - Parameter isPeeking: leaves each message in the socket; the caller removes it, by
    ///   `messageByteCount`, before it asks for the next one.
    public init(socket: Int32, isPeeking: Bool = false) {
        self.socket = socket
        self.isPeeking = isPeeking
    }

    /// Takes what has arrived, up to the end of one message. Never waits.
    ///
    /// A message that is too long, of an unknown type or with more than
    /// `VFIOUserMessage.descriptorLimit` descriptors is an error: the connection must end.
    public mutating func next() throws(VFIOUserError) -> Event {
        if isPeeking { return try peek() }
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

    /// The next message, which stays where it is.
    private mutating func peek() throws(VFIOUserError) -> Event {
        let headerByteCount = VFIOUserMessage.headerByteCount
        switch try waiting(headerByteCount) {
        case .less: return .incomplete
        case .closed: return .closed
        case .all(let start):
            let payloadByteCount = try VFIOUserMessage.payloadByteCount(header: start.bytes)
            guard payloadByteCount > 0 else { return .message(message(start)) }
            // Descriptors count with the whole message, not with its header.
            switch try waiting(headerByteCount + payloadByteCount) {
            case .less: return .incomplete
            case .closed: return .closed
            case .all(let whole):
                guard whole.descriptors.count <= VFIOUserMessage.descriptorLimit else {
                    throw VFIOUserError(
                        ErrorNumber.messageSize,
                        "message with more than \(VFIOUserMessage.descriptorLimit) descriptors")
                }
                return .message(message(whole))
            }
        }
    }

    private func waiting(_ byteCount: Int) throws(VFIOUserError) -> UnixSocket.Waiting {
        do {
            return try UnixSocket.waiting(byteCount, in: socket)
        } catch { throw VFIOUserError(error.code, "\(error)") }
    }

    private mutating func message(_ whole: ReceivedMessage) -> VFIOUserMessage {
        messageByteCount = whole.bytes.count
        let headerByteCount = VFIOUserMessage.headerByteCount
        return VFIOUserMessage(
            header: Array(whole.bytes.prefix(headerByteCount)),
            payload: Array(whole.bytes.dropFirst(headerByteCount)),
            descriptors: whole.descriptors)
    }

    private mutating func take() -> VFIOUserMessage {
        let message = VFIOUserMessage(header: header, payload: payload, descriptors: descriptors)
        header = []
        payload = []
        descriptors = []
        return message
    }
}
