internal import CWire
internal import Memory
public import Platform

/// One message, either way (libvfio-user, docs/vfio-user.rst, "Header").
public struct VFIOUserMessage: Sendable {
    public static let headerByteCount = MemoryLayout<vfio_user_header>.size
    /// The most data that one access to a region may carry: `max_data_xfer_size`.
    public static let dataLimit = 1 << 16
    /// The longest payload: that much data and the structure in front of it.
    public static let payloadLimit = MemoryLayout<vfio_user_region_access>.size + dataLimit
    /// The most descriptors with one message: `max_msg_fds`. QEMU refuses servers with more.
    public static let descriptorLimit = 16

    public var id: UInt16
    public var command: UInt16
    public var isReply: Bool
    /// A command that gets no reply.
    public var isPosted: Bool
    /// In a reply: the command was refused with this errno, which may be 0.
    public var refusal: Int32?
    public var payload: [UInt8]
    public var descriptors: [SharedDescriptor]

    public init(
        id: UInt16 = 0, command: UInt16, isReply: Bool = false, isPosted: Bool = false,
        refusal: Int32? = nil, payload: [UInt8] = [], descriptors: [SharedDescriptor] = []
    ) {
        self.id = id
        self.command = command
        self.isReply = isReply
        self.isPosted = isPosted
        self.refusal = refusal
        self.payload = payload
        self.descriptors = descriptors
    }

    /// A command.
    public init(
        _ command: VFIOUserCommand, id: UInt16 = 0, isPosted: Bool = false, payload: [UInt8] = [],
        descriptors: [SharedDescriptor] = []
    ) {
        self.init(
            id: id, command: command.rawValue, isPosted: isPosted, payload: payload,
            descriptors: descriptors)
    }

    /// The answer to this command.
    public func reply(
        _ payload: [UInt8] = [], descriptors: [SharedDescriptor] = []
    ) -> VFIOUserMessage {
        VFIOUserMessage(
            id: id, command: command, isReply: true, payload: payload, descriptors: descriptors)
    }

    /// The answer that refuses this command: a header alone.
    public func reply(refusal code: Int32) -> VFIOUserMessage {
        VFIOUserMessage(id: id, command: command, isReply: true, refusal: code)
    }

    /// Header and payload; the descriptors go beside them.
    public func encoded() -> [UInt8] {
        var flags = isReply ? UInt32(VFIO_USER_TYPE_REPLY) : UInt32(VFIO_USER_TYPE_COMMAND)
        if isPosted { flags |= UInt32(VFIO_USER_NO_REPLY) }
        if refusal != nil { flags |= UInt32(VFIO_USER_ERROR) }
        let header = vfio_user_header(
            id: id, command: command, size: UInt32(Self.headerByteCount + payload.count),
            flags: flags, error: UInt32(bitPattern: refusal ?? 0))
        return ByteLayout.bytes(of: header) + payload
    }

    /// Length of the payload that `header` announces; the header itself is checked.
    static func payloadByteCount(header: [UInt8]) throws(VFIOUserError) -> Int {
        let fields = ByteLayout.load(vfio_user_header.self, from: header) ?? vfio_user_header()
        let type = fields.flags & UInt32(VFIO_USER_TYPE_MASK)
        guard type == UInt32(VFIO_USER_TYPE_COMMAND) || type == UInt32(VFIO_USER_TYPE_REPLY)
        else { throw VFIOUserError(ErrorNumber.invalid, "message of type \(type)") }
        guard fields.size >= headerByteCount, Int(fields.size) - headerByteCount <= payloadLimit
        else {
            throw VFIOUserError(
                ErrorNumber.messageSize,
                "message of \(fields.size) bytes; \(headerByteCount) to "
                    + "\(headerByteCount + payloadLimit) are allowed")
        }
        return Int(fields.size) - headerByteCount
    }

    /// - Parameter header: one that `payloadByteCount` has accepted.
    init(header: [UInt8], payload: [UInt8], descriptors: [SharedDescriptor]) {
        let fields = ByteLayout.load(vfio_user_header.self, from: header) ?? vfio_user_header()
        let isReply =
            fields.flags & UInt32(VFIO_USER_TYPE_MASK) == UInt32(VFIO_USER_TYPE_REPLY)
        let isRefused = isReply && fields.flags & UInt32(VFIO_USER_ERROR) != 0
        self.init(
            id: fields.id, command: fields.command, isReply: isReply,
            isPosted: !isReply && fields.flags & UInt32(VFIO_USER_NO_REPLY) != 0,
            refusal: isRefused ? Int32(bitPattern: fields.error) : nil, payload: payload,
            descriptors: descriptors)
    }

    /// The payload as a structure; refused unless it has exactly that size.
    func structure<Value: BitwiseCopyable>(_ type: Value.Type) throws(VFIOUserError) -> Value {
        let value = try beginning(type)
        guard payload.count == MemoryLayout<Value>.size else { throw wrongSize(type) }
        return value
    }

    /// The structure at the beginning of the payload.
    func beginning<Value: BitwiseCopyable>(_ type: Value.Type) throws(VFIOUserError) -> Value {
        guard let value = ByteLayout.load(type, from: payload) else { throw wrongSize(type) }
        return value
    }

    private func wrongSize<Value: BitwiseCopyable>(_ type: Value.Type) -> VFIOUserError {
        VFIOUserError(
            ErrorNumber.invalid,
            "command \(command) has \(payload.count) bytes; its structure has "
                + "\(MemoryLayout<Value>.size)")
    }
}
