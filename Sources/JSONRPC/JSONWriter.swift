/// Writes values as SPDK does: pure ASCII, everything else as `\uXXXX` with upper-case digits.
struct JSONWriter {
    private(set) var bytes: [UInt8] = []
    /// Spaces per level; nil writes no whitespace at all.
    let indentation: Int?

    mutating func write(_ value: JSONValue, level: Int = 0) {
        switch value {
        case .null: write("null")
        case .bool(let value): write(value ? "true" : "false")
        case .number(let value): write(value.literal)
        case .string(let value): writeString(value)
        case .array(let values):
            writeList(values, "[", "]", level) { writer, value in
                writer.write(value, level: level + 1)
            }
        case .object(let object):
            writeList(object.members, "{", "}", level) { writer, member in
                writer.writeString(member.key)
                writer.write(writer.indentation == nil ? ":" : ": ")
                writer.write(member.value, level: level + 1)
            }
        }
    }

    mutating func write(_ text: String) { bytes += text.utf8 }

    private mutating func writeList<Element>(
        _ elements: [Element], _ open: String, _ close: String, _ level: Int,
        _ writeElement: (inout JSONWriter, Element) -> Void
    ) {
        write(open)
        for (index, element) in elements.enumerated() {
            if index > 0 { write(",") }
            breakLine(level + 1)
            writeElement(&self, element)
        }
        if !elements.isEmpty { breakLine(level) }
        write(close)
    }

    private mutating func breakLine(_ level: Int) {
        guard let indentation else { return }
        bytes.append(0x0A)
        bytes += Array(repeating: 0x20, count: indentation * level)
    }

    private mutating func writeString(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        if text.utf8.allSatisfy(JSONWriter.isPlain) {
            bytes += text.utf8
        } else {
            for scalar in text.unicodeScalars { writeScalar(scalar) }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func writeScalar(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": write("\\\"")
        case "\\": write("\\\\")
        case "\u{08}": write("\\b")
        case "\u{0C}": write("\\f")
        case "\n": write("\\n")
        case "\r": write("\\r")
        case "\t": write("\\t")
        case " "..."~": bytes.append(UInt8(truncatingIfNeeded: scalar.value))
        default: for unit in UTF16.encode(scalar) ?? .init() { writeUnit(unit) }
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }

    private mutating func writeUnit(_ unit: UInt16) {
        let digits = Array("0123456789ABCDEF".utf8)
        write("\\u")
        for shift in [12, 8, 4, 0] { bytes.append(digits[Int(unit >> UInt16(shift)) & 0xF]) }
    }
}

extension JSONValue {
    /// The value in SPDK's form: no whitespace, ASCII only.
    public func encoded() -> [UInt8] {
        var writer = JSONWriter(indentation: nil)
        writer.write(self)
        return writer.bytes
    }

    /// The value over several lines, two spaces per level.
    public func indented() -> [UInt8] {
        var writer = JSONWriter(indentation: 2)
        writer.write(self)
        return writer.bytes
    }
}
