/// A JSON number, kept as the characters it was written with.
///
/// An id is echoed from them, and a conversion is exact or fails: `1e3`, `1024.0` and `10240e-1`
/// are integers, `1.5` is not.
public struct JSONNumber: Sendable, Hashable, CustomStringConvertible {
    /// The literal, grammatical by RFC 8259 section 6.
    public let literal: String

    public init(_ value: some FixedWidthInteger) { literal = String(value) }

    /// - Precondition: `literal` passed the scanner.
    init(scanned literal: String) { self.literal = literal }

    public var description: String { literal }

    /// The value, when it is an integer from 0 to 2^64-1. `-0` has a sign, so it is not.
    public var unsigned: UInt64? {
        literal.utf8.first == UInt8(ascii: "-") ? nil : magnitude
    }

    /// The value, when it is an integer that fits 64 signed bits.
    public var signed: Int64? {
        guard let magnitude else { return nil }
        guard literal.utf8.first == UInt8(ascii: "-") else { return Int64(exactly: magnitude) }
        return magnitude == 1 << 63 ? .min : Int64(exactly: magnitude).map { -$0 }
    }

    /// The absolute value: all digits with the point moved by the exponent, if that is integral.
    private var magnitude: UInt64? {
        var digits: [UInt64] = []
        var exponent = 0
        var bytes = literal.utf8.drop { $0 == UInt8(ascii: "-") }
        var afterPoint = false
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "."): afterPoint = true
            case UInt8(ascii: "e"), UInt8(ascii: "E"):
                exponent += JSONNumber.exponent(String(bytes))
                bytes = "".utf8[...]
            default:
                digits.append(UInt64(byte - UInt8(ascii: "0")))
                if afterPoint { exponent -= 1 }
            }
        }
        while digits.last == 0 {
            digits.removeLast()
            exponent += 1
        }
        if digits.isEmpty { return 0 }
        guard exponent >= 0 else { return nil }
        return JSONNumber.shift(digits, by: exponent)
    }

    /// `digits` followed by `zeros` zeros, if that fits.
    private static func shift(_ digits: [UInt64], by zeros: Int) -> UInt64? {
        guard zeros < 20 else { return nil }
        var value: UInt64 = 0
        for digit in digits + Array(repeating: 0, count: zeros) {
            let (tens, tooBig) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflow) = tens.addingReportingOverflow(digit)
            if tooBig || overflow { return nil }
            value = sum
        }
        return value
    }

    /// The exponent, with what is too large for any literal of ours cut to a million.
    private static func exponent(_ text: String?) -> Int {
        guard let text else { return 0 }
        let limit = 1_000_000
        guard let value = Int(text) else { return text.hasPrefix("-") ? -limit : limit }
        return max(-limit, min(limit, value))
    }
}
