internal import JSONRPC
internal import Memory
internal import Platform
internal import Synchronization

/// A TCP connection on which each message shows that its sender knows the shared secret, and that
/// it is the next of this session: nothing can be forged, changed, left out or said again. What it
/// says can be read on the way.
///
/// Each end says a greeting first: 24 bytes of text and a nonce of 32. Each direction then has a
/// key, HMAC(secret, direction, the service's nonce, the DPU's nonce). A message is the number of
/// its bytes (32 bits, big-endian), a code, and the bytes; the code is HMAC(key, number of the
/// message in its direction from 0 (64 bits, big-endian), bytes).
final class AuthenticatedWire: ControlWire {
    enum Role { case service, dpu }

    /// Who has not shown who it is has no reason to say more.
    static let strangerByteLimit = 4096
    static let greetingByteCount = 56
    private static let greeting = Array("SoftSNAP control link 1\n".utf8)
    private static let headerByteCount = 4 + MessageAuthentication.byteCount

    private struct Key {
        let bytes: [UInt8]
        private var count: UInt64 = 0

        init(_ secret: SharedSecret, _ direction: String, _ service: [UInt8], _ dpu: [UInt8]) {
            bytes = MessageAuthentication.code(
                of: Array(direction.utf8) + service + dpu, key: secret.bytes)
        }

        /// The code of the message that comes next.
        mutating func code(of body: ArraySlice<UInt8>) -> [UInt8] {
            defer { count += 1 }
            return MessageAuthentication.code(
                of: ByteLayout.bytes(of: count.bigEndian) + body, key: bytes)
        }
    }

    private struct State {
        /// Of what goes and what comes; nil before the other end's greeting.
        var keys: (outgoing: Key, incoming: Key)?
        var input: [UInt8] = []
        var output: [UInt8]
        var isProven = false
        var hasEnded = false
    }

    private let socket: SharedDescriptor
    private let role: Role
    private let secret: SharedSecret
    private let nonce: [UInt8]
    private let state: Mutex<State>

    init(
        _ socket: SharedDescriptor, _ role: Role, _ secret: SharedSecret
    ) throws(ControlLinkError) {
        self.socket = socket
        self.role = role
        self.secret = secret
        var random = SystemRandomNumberGenerator()
        nonce = (0..<4).flatMap { _ in ByteLayout.bytes(of: random.next() as UInt64) }
        state = Mutex(State(output: Self.greeting + nonce))
        try flush()
    }

    var number: Int32 { socket.number }
    var carriesDescriptors: Bool { false }
    var hasUnsent: Bool { state.withLock { !$0.output.isEmpty } }
    var isProven: Bool { state.withLock { $0.isProven } }

    /// Whether the other end's greeting has come: messages can be sent.
    func isGreeted() throws(ControlLinkError) -> Bool {
        try withState { (state) throws(ControlLinkError) in
            try fill(&state)
            if state.keys == nil, state.hasEnded { throw .closed }
            return state.keys != nil
        }
    }

    // --- out ---

    func send(_ message: ControlMessage) throws(ControlLinkError) -> Bool {
        try withState { (state) throws(ControlLinkError) in
            try flush(&state)
            guard state.output.isEmpty, state.keys != nil else { return false }
            let body = message.body.encoded()
            guard body.count <= ControlMessage.byteLimit else {
                throw .broken("a message of \(body.count) bytes")
            }
            let code = state.keys?.outgoing.code(of: body[...]) ?? []
            state.output = ByteLayout.bytes(of: UInt32(body.count).bigEndian) + code + body
            try flush(&state)
            return true
        }
    }

    func flush() throws(ControlLinkError) {
        try withState { (state) throws(ControlLinkError) in try flush(&state) }
    }

    private func flush(_ state: inout State) throws(ControlLinkError) {
        do throws(SystemError) {
            while !state.output.isEmpty,
                let count = try UnixSocket.send(state.output[...], to: socket.number)
            {
                state.output.removeFirst(count)
            }
        } catch { throw .broken("\(error)") }
    }

    // --- in ---

    func receive() throws(ControlLinkError) -> ControlMessage? {
        try withState { (state) throws(ControlLinkError) in
            if let message = try take(&state) { return message }
            try fill(&state)
            if let message = try take(&state) { return message }
            if state.hasEnded { throw .closed }
            return nil
        }
    }

    private func fill(_ state: inout State) throws(ControlLinkError) {
        let limit =
            Self.headerByteCount
            + (state.isProven ? ControlMessage.byteLimit : Self.strangerByteLimit)
        do throws(SystemError) {
            while state.input.count < limit,
                let packet = try UnixSocket.receive(
                    upTo: limit - state.input.count, from: socket.number)
            {
                state.hasEnded = packet.bytes.isEmpty
                if state.hasEnded { break }
                state.input += packet.bytes
            }
        } catch { throw .broken("\(error)") }
        if state.keys == nil { try greet(&state) }
    }

    private func greet(_ state: inout State) throws(ControlLinkError) {
        let text = state.input.prefix(Self.greeting.count)
        guard text.elementsEqual(Self.greeting.prefix(text.count)) else {
            throw .broken("what is said there is no control link of SoftSNAP")
        }
        guard state.input.count >= Self.greetingByteCount else { return }
        let other = Array(state.input[Self.greeting.count..<Self.greetingByteCount])
        guard other != nonce else { throw .broken("the greeting came back") }
        state.input.removeFirst(Self.greetingByteCount)
        let (service, dpu) = role == .service ? (nonce, other) : (other, nonce)
        let up = Key(secret, "service to dpu", service, dpu)
        let down = Key(secret, "dpu to service", service, dpu)
        state.keys = role == .service ? (up, down) : (down, up)
    }

    private func take(_ state: inout State) throws(ControlLinkError) -> ControlMessage? {
        guard state.keys != nil, state.input.count >= Self.headerByteCount else { return nil }
        let count = state.input[..<4].reduce(0) { $0 << 8 | Int($1) }
        let limit = state.isProven ? ControlMessage.byteLimit : Self.strangerByteLimit
        guard count <= limit else {
            throw .broken("a message of \(count) bytes, where \(limit) are allowed")
        }
        let end = Self.headerByteCount + count
        guard state.input.count >= end else { return nil }
        let body = state.input[Self.headerByteCount..<end]
        let code = state.keys?.incoming.code(of: body) ?? []
        guard MessageAuthentication.areEqual(state.input[4..<Self.headerByteCount], code) else {
            throw .broken(
                "a message does not prove that its sender knows the secret; give both ends the "
                    + "same file")
        }
        defer { state.input.removeFirst(end) }
        state.isProven = true
        do {
            return ControlMessage(try JSONValue.parse(Array(body)))
        } catch { throw .broken("\(error)") }
    }

    private func withState<T>(
        _ body: (inout State) throws(ControlLinkError) -> sending T
    ) throws(ControlLinkError) -> sending T {
        try state.withLock(body)
    }
}
