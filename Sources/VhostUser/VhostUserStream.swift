internal import Platform

/// Messages from a stream socket. Reads exactly one message at a time, so that descriptors stay
/// with the message they came with.
public struct VhostUserStream {
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
        case message(VhostUserMessage)
        /// Nothing complete yet.
        case incomplete
        case closed
    }

    /// - Parameter socket: non-blocking; the caller keeps it open.
    /// - Parameter isPeeking: leaves each message in the socket; the caller removes it, by
    ///   `messageByteCount`, before it asks for the next one.
    public init(socket: Int32, isPeeking: Bool = false) {
        self.socket = socket
        self.isPeeking = isPeeking
    }

    public mutating func next() throws(VhostUserError) -> Event {
        if isPeeking { return try peek() }
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

    /// The next message, which stays where it is.
    private mutating func peek() throws(VhostUserError) -> Event {
        let headerByteCount = VhostUserMessage.headerByteCount
        switch try waiting(headerByteCount) {
        case .less: return .incomplete
        case .closed: return .closed
        case .all(let start):
            let payloadByteCount = try VhostUserMessage.payloadByteCount(header: start.bytes)
            guard payloadByteCount > 0 else { return .message(message(start)) }
            // Descriptors count with the whole message, not with its header.
            switch try waiting(headerByteCount + payloadByteCount) {
            case .less: return .incomplete
            case .closed: return .closed
            case .all(let whole): return .message(message(whole))
            }
        }
    }

    private func waiting(_ byteCount: Int) throws(VhostUserError) -> UnixSocket.Waiting {
        do {
            return try UnixSocket.waiting(byteCount, in: socket)
        } catch { throw VhostUserError("\(error)") }
    }

    private mutating func message(_ whole: ReceivedMessage) -> VhostUserMessage {
        messageByteCount = whole.bytes.count
        let headerByteCount = VhostUserMessage.headerByteCount
        return VhostUserMessage(
            header: Array(whole.bytes.prefix(headerByteCount)),
            payload: Array(whole.bytes.dropFirst(headerByteCount)),
            descriptors: whole.descriptors)
    }

    private mutating func take() -> VhostUserMessage {
        let message = VhostUserMessage(header: header, payload: payload, descriptors: descriptors)
        header = []
        payload = []
        descriptors = []
        return message
    }
}
