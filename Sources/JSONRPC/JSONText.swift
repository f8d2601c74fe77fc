/// The bytes of exactly one JSON value that the scanner took, without whitespace around it and
/// with escaped surrogate pairs replaced by their characters.
public struct JSONText: Sendable, Equatable {
    public let bytes: [UInt8]
    /// Where each number of the value stands in `bytes`, in document order.
    public let numberRanges: [Range<Int>]
    /// Whether some key contains U+0000, which the tree cannot hold.
    public let hasUnrepresentableKey: Bool

    var numbers: [JSONNumber] {
        numberRanges.map { JSONNumber(scanned: String(decoding: bytes[$0], as: UTF8.self)) }
    }
}
