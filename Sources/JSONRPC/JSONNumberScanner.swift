/// One JSON number, byte by byte (RFC 8259 section 6).
struct JSONNumberScanner: Sendable {
    private enum State {
        case start, minus, zero, digits, point, fraction, exponent, exponentSign, exponentDigits
    }

    private var state = State.start

    /// Whether the number may end here.
    var isComplete: Bool {
        switch state {
        case .zero, .digits, .fraction, .exponentDigits: true
        case .start, .minus, .point, .exponent, .exponentSign: false
        }
    }

    /// - Returns: false when the number has ended before `byte`.
    mutating func consume(_ byte: UInt8) throws(JSONError.Reason) -> Bool {
        guard let next = next(byte) else {
            let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            guard isComplete && !isDigit else { throw .badNumber }
            return false
        }
        state = next
        return true
    }

    private func next(_ byte: UInt8) -> State? {
        switch (state, byte) {
        case (.start, UInt8(ascii: "-")): .minus
        case (.start, UInt8(ascii: "0")), (.minus, UInt8(ascii: "0")): .zero
        case (.start, UInt8(ascii: "1")...UInt8(ascii: "9")): .digits
        case (.minus, UInt8(ascii: "1")...UInt8(ascii: "9")): .digits
        case (.digits, UInt8(ascii: "0")...UInt8(ascii: "9")): .digits
        case (.zero, UInt8(ascii: ".")), (.digits, UInt8(ascii: ".")): .point
        case (.point, UInt8(ascii: "0")...UInt8(ascii: "9")): .fraction
        case (.fraction, UInt8(ascii: "0")...UInt8(ascii: "9")): .fraction
        case (.zero, UInt8(ascii: "e")), (.zero, UInt8(ascii: "E")): .exponent
        case (.digits, UInt8(ascii: "e")), (.digits, UInt8(ascii: "E")): .exponent
        case (.fraction, UInt8(ascii: "e")), (.fraction, UInt8(ascii: "E")): .exponent
        case (.exponent, UInt8(ascii: "+")), (.exponent, UInt8(ascii: "-")): .exponentSign
        case (.exponent, UInt8(ascii: "0")...UInt8(ascii: "9")): .exponentDigits
        case (.exponentSign, UInt8(ascii: "0")...UInt8(ascii: "9")): .exponentDigits
        case (.exponentDigits, UInt8(ascii: "0")...UInt8(ascii: "9")): .exponentDigits
        default: nil
        }
    }
}
