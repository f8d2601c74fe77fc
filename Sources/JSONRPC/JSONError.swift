/// Why bytes are not one acceptable JSON value, and where.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    public enum Reason: String, Error {
        case unexpectedByte = "unexpected byte"
        case badLiteral = "bad literal"
        case badNumber = "bad number"
        case badEscape = "bad escape"
        case controlCharacter = "control character in a string"
        case invalidUTF8 = "invalid UTF-8"
        case loneSurrogate = "lone surrogate"
        case duplicateKey = "duplicate key"
        case tooDeep = "too many open containers"
        case tooManyTokens = "too many tokens"
        case tooLong = "too long"
        case incomplete = "incomplete value"
        case trailingBytes = "bytes after the value"
        /// A key with U+0000 in it: legal, but the tree holds keys as C strings.
        case unrepresentableKey = "NUL in a key"
        /// The scanner took what json-c refuses: no known input does it.
        case treeRefused = "refused by json-c"
    }

    public let reason: Reason
    /// Bytes of the value before the one that was refused.
    public let offset: Int

    init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    public var description: String { "\(reason.rawValue) at byte \(offset)" }
}
