/// The inside of one JSON string, byte by byte: escapes, surrogate pairs, UTF-8 (RFC 3629).
struct JSONStringScanner: Sendable {
    private enum State {
        case plain
        case escape
        /// Hexadecimal digits still to come, and the value of those seen.
        case unicode(digits: Int, value: UInt32)
        /// After a high surrogate only `\u` may follow.
        case lowBackslash
        case lowLetter
        /// Continuation bytes still to come, and the range of the next one.
        case continuation(count: Int, allowed: ClosedRange<UInt8>)
    }

    private var state = State.plain
    private var highSurrogate: UInt32?
    private var pair: Unicode.Scalar?
    private let keepsContent: Bool
    /// The unescaped bytes so far, when they are kept.
    private(set) var content: [UInt8] = []

    init(keepsContent: Bool) { self.keepsContent = keepsContent }

    /// Takes the byte after the opening quote, and so on.
    /// - Returns: whether it was the closing quote.
    mutating func consume(_ byte: UInt8) throws(JSONError.Reason) -> Bool {
        switch state {
        case .plain: return try consumePlain(byte)
        case .escape: try consumeEscape(byte)
        case .unicode(let digits, let value):
            guard let digit = JSONStringScanner.hexadecimal(byte) else { throw .badEscape }
            let value = value << 4 | digit
            if digits > 1 {
                state = .unicode(digits: digits - 1, value: value)
            } else {
                try endUnicode(value)
            }
        case .lowBackslash:
            guard byte == UInt8(ascii: "\\") else { throw .loneSurrogate }
            state = .lowLetter
        case .lowLetter:
            guard byte == UInt8(ascii: "u") else { throw .loneSurrogate }
            state = .unicode(digits: 4, value: 0)
        case .continuation(let count, let allowed):
            guard allowed.contains(byte) else { throw .invalidUTF8 }
            keep(byte)
            state = count == 1 ? .plain : .continuation(count: count - 1, allowed: 0x80...0xBF)
        }
        return false
    }

    /// The character of a surrogate pair, right after the byte that ended it.
    mutating func takePair() -> Unicode.Scalar? { pair.take() }

    private mutating func consumePlain(_ byte: UInt8) throws(JSONError.Reason) -> Bool {
        switch byte {
        case UInt8(ascii: "\""): return true
        case UInt8(ascii: "\\"):
            state = .escape
            return false
        case 0..<0x20: throw .controlCharacter
        case 0x20..<0x80: break
        case 0xC2...0xDF: state = .continuation(count: 1, allowed: 0x80...0xBF)
        case 0xE0: state = .continuation(count: 2, allowed: 0xA0...0xBF)
        case 0xED: state = .continuation(count: 2, allowed: 0x80...0x9F)
        case 0xE1...0xEF: state = .continuation(count: 2, allowed: 0x80...0xBF)
        case 0xF0: state = .continuation(count: 3, allowed: 0x90...0xBF)
        case 0xF1...0xF3: state = .continuation(count: 3, allowed: 0x80...0xBF)
        case 0xF4: state = .continuation(count: 3, allowed: 0x80...0x8F)
        default: throw .invalidUTF8
        }
        keep(byte)
        return false
    }

    private mutating func consumeEscape(_ byte: UInt8) throws(JSONError.Reason) {
        state = .plain
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): keep(byte)
        case UInt8(ascii: "b"): keep(0x08)
        case UInt8(ascii: "f"): keep(0x0C)
        case UInt8(ascii: "n"): keep(0x0A)
        case UInt8(ascii: "r"): keep(0x0D)
        case UInt8(ascii: "t"): keep(0x09)
        case UInt8(ascii: "u"): state = .unicode(digits: 4, value: 0)
        default: throw .badEscape
        }
    }

    private mutating func endUnicode(_ unit: UInt32) throws(JSONError.Reason) {
        switch (highSurrogate, unit) {
        case (nil, 0xD800...0xDBFF):
            highSurrogate = unit
            state = .lowBackslash
        case (let high?, 0xDC00...0xDFFF):
            highSurrogate = nil
            state = .plain
            pair = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (unit - 0xDC00))
            keep(pair)
        case (nil, 0xDC00...0xDFFF), (_?, _): throw .loneSurrogate
        case (nil, _):
            state = .plain
            keep(Unicode.Scalar(unit))
        }
    }

    private mutating func keep(_ byte: UInt8) {
        if keepsContent { content.append(byte) }
    }

    private mutating func keep(_ scalar: Unicode.Scalar?) {
        guard keepsContent, let scalar else { return }
        content += UTF8.encode(scalar) ?? .init()
    }

    static func hexadecimal(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }
}
