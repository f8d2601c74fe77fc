internal import CWire
internal import Memory
public import Platform

/// One message, either way.
public struct VhostUserMessage: Sendable {
    public static let headerByteCount = MemoryLayout<vhost_user_header>.size
    /// The longest payload that any message may have.
    public static let payloadLimit = 4096
    private static let version: UInt32 = 1
    private static let replyFlag: UInt32 = 1 << 2
    private static let needReplyFlag: UInt32 = 1 << 3

    public var request: UInt32
    public var isReply: Bool
    public var needsReply: Bool
    public var payload: [UInt8]
    public var descriptors: [SharedDescriptor]

    public init(
        _ request: UInt32, payload: [UInt8] = [], descriptors: [SharedDescriptor] = [],
        isReply: Bool = false, needsReply: Bool = false
    ) {
        self.request = request
        self.payload = payload
        self.descriptors = descriptors
        self.isReply = isReply
        self.needsReply = needsReply
    }

    public init(
        _ request: VhostUserRequest, payload: [UInt8] = [], descriptors: [SharedDescriptor] = [],
        needsReply: Bool = false
    ) {
        self.init(
            request.rawValue, payload: payload, descriptors: descriptors, needsReply: needsReply)
    }

    /// The answer to this message.
    public func reply(
        _ payload: [UInt8], descriptors: [SharedDescriptor] = []
    ) -> VhostUserMessage {
        VhostUserMessage(request, payload: payload, descriptors: descriptors, isReply: true)
    }

    public func encoded() -> [UInt8] {
        var flags = Self.version
        if isReply { flags |= Self.replyFlag }
        if needsReply { flags |= Self.needReplyFlag }
        let header = vhost_user_header(
            request: request, flags: flags, size: UInt32(payload.count))
        return ByteLayout.bytes(of: header) + payload
    }

    /// Length of the payload that `header` announces.
    static func payloadByteCount(header: [UInt8]) throws(VhostUserError) -> Int {
        let fields = ByteLayout.load(vhost_user_header.self, from: header) ?? vhost_user_header()
        guard fields.flags & 3 == version else {
            throw VhostUserError("message of version \(fields.flags & 3), only 1 is known")
        }
        guard Int(fields.size) <= payloadLimit else {
            throw VhostUserError(
                "message of \(fields.size) bytes, at most \(payloadLimit) are allowed")
        }
        return Int(fields.size)
    }

    init(header: [UInt8], payload: [UInt8], descriptors: [SharedDescriptor]) {
        let fields = ByteLayout.load(vhost_user_header.self, from: header) ?? vhost_user_header()
        self.init(
            fields.request, payload: payload, descriptors: descriptors,
            isReply: fields.flags & Self.replyFlag != 0,
            needsReply: fields.flags & Self.needReplyFlag != 0)
    }

    /// The payload as a structure; refused unless it has exactly that size.
    func structure<Value: BitwiseCopyable>(_ type: Value.Type) throws(VhostUserError) -> Value {
        guard payload.count == MemoryLayout<Value>.size,
            let value = ByteLayout.load(type, from: payload)
        else {
            throw VhostUserError(
                "message \(request) has \(payload.count) bytes instead of "
                    + "\(MemoryLayout<Value>.size)")
        }
        return value
    }
}
