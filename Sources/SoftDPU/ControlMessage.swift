internal import JSONRPC
internal import Platform

/// One message between a service and the software DPU: a JSON object, perhaps with descriptors,
/// kept together by a packet socket.
///
/// Protocol version 2. A request carries `id` and `call`; its answer the same `id` and `result` or
/// `error {code, reason}`; anything else is an event, named by `event`. Unknown members are left.
struct ControlMessage {
    static let version: UInt64 = 2
    static let byteLimit = 128 * 1024

    var body: JSONValue
    var descriptors: [SharedDescriptor] = []

    init(_ body: JSONValue, descriptors: [SharedDescriptor] = []) {
        self.body = body
        self.descriptors = descriptors
    }

    /// The next message from `socket`; nil when none waits. An error, or an empty message, means
    /// that the link is over.
    static func receive(from socket: Int32) throws(ControlLinkError) -> ControlMessage? {
        do {
            guard let packet = try UnixSocket.receive(upTo: byteLimit, from: socket) else {
                return nil
            }
            if packet.bytes.isEmpty { throw ControlLinkError.closed }
            return ControlMessage(
                try JSONValue.parse(packet.bytes), descriptors: packet.descriptors)
        } catch let error as ControlLinkError {
            throw error
        } catch { throw .broken("\(error)") }
    }

    /// Sends the message. False when the socket is full.
    func send(to socket: Int32) throws(ControlLinkError) -> Bool {
        do {
            return try UnixSocket.send(
                body.encoded()[...], descriptors: descriptors.map(\.number), to: socket) != nil
        } catch { throw .broken("\(error)") }
    }
}

enum ControlLinkError: Error {
    case closed
    case broken(String)
}

extension JSONValue {
    func unsigned(_ key: String) -> UInt64? { self[key]?.unsigned }
    func text(_ key: String) -> String? { self[key]?.string }
    func flag(_ key: String) -> Bool { self[key]?.bool ?? false }
    func int(_ key: String) -> Int? { self[key]?.unsigned.flatMap { Int(exactly: $0) } }

    /// Bytes as a JSON string of two hexadecimal digits each.
    init(hex bytes: [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        let text = bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
        self = .string(String(decoding: text, as: UTF8.self))
    }

    func bytes(_ key: String) -> [UInt8]? {
        guard let text = text(key), text.utf8.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        var rest = Substring(text)
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}
