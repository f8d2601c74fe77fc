internal import Platform

/// One message between a software DPU and its keeper: two little-endian words of 64 bits, the
/// second a number, and for `put` and `entry` one descriptor.
struct KeeperMessage {
    enum Operation: UInt64 {
        /// Keep this descriptor under the number, in the place of an older one.
        case put = 1
        case delete = 2
        /// Tell everything: an `entry` each, then `end` with their count.
        case list = 3
        case entry = 4
        case end = 5
        /// Let go of everything and leave.
        case leave = 6
    }

    static let byteCount = 16

    var operation: Operation
    var number: UInt64 = 0
    var file: SharedDescriptor?

    var encoded: [UInt8] { Self.bytes(operation.rawValue) + Self.bytes(number) }

    private static func bytes(_ word: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) }
    }

    private static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    init(_ operation: Operation, number: UInt64 = 0, file: SharedDescriptor? = nil) {
        self.operation = operation
        self.number = number
        self.file = file
    }

    /// Nil: no message of this protocol.
    init?(_ received: ReceivedMessage) {
        guard received.bytes.count == Self.byteCount,
            let operation = Operation(rawValue: Self.word(received.bytes[0..<8]))
        else { return nil }
        self.init(
            operation, number: Self.word(received.bytes[8..<16]), file: received.descriptors.first)
    }

    /// Sends the message, waiting until there is room. False: nobody reads any more.
    func send(to socket: Int32) -> Bool {
        let files = file.map { [$0.number] } ?? []
        while true {
            let sent: Int?
            do { sent = try UnixSocket.send(encoded[...], descriptors: files, to: socket) } catch {
                return false
            }
            if sent != nil { return true }
            if !UnixSocket.waitWritable(socket, milliseconds: 1000) { return false }
        }
    }
}
