import JSONRPC
import Seeds
import Testing

@Suite struct `JSON scanner` {
    @Test(
        arguments: [
            // comments, commas, quotes, words
            ("/* c */1", .unexpectedByte), ("[1,]", .unexpectedByte),
            ("{\"a\":1,}", .unexpectedByte), ("{,}", .unexpectedByte), ("[,1]", .unexpectedByte),
            ("'a'", .unexpectedByte), ("{'a':1}", .unexpectedByte), ("{a:1}", .unexpectedByte),
            ("{\"a\" 1}", .unexpectedByte), ("{\"a\":}", .unexpectedByte),
            ("[1 2]", .unexpectedByte),
            ("NaN", .unexpectedByte), ("Infinity", .unexpectedByte), ("[1}", .unexpectedByte),
            ("{\"a\":1]", .unexpectedByte), ("]", .unexpectedByte), ("}", .unexpectedByte),
            ("\u{FEFF}1", .unexpectedByte), ("\0", .unexpectedByte), ("[\u{0B}]", .unexpectedByte),
            ("[\u{A0}1]", .unexpectedByte), ("True", .unexpectedByte), ("{1:2}", .unexpectedByte),
            ("trux", .badLiteral), ("nul ", .badLiteral), ("falsE", .badLiteral),
            // numbers
            ("01", .badNumber), ("-01", .badNumber), ("+1", .unexpectedByte),
            (".5", .unexpectedByte),
            ("[1.]", .badNumber), ("[1e]", .badNumber), ("[1e+]", .badNumber), ("[-]", .badNumber),
            ("[0x1]", .unexpectedByte), ("[-Infinity]", .badNumber), ("[1.5.2]", .unexpectedByte),
            // strings
            ("\"\u{1}\"", .controlCharacter), ("\"\n\"", .controlCharacter),
            (#""\x""#, .badEscape), (#""\u12g4""#, .badEscape), (#""\'""#, .badEscape),
            (#""\uD800""#, .loneSurrogate), (#""\uDC00""#, .loneSurrogate),
            (#""\uD800\n""#, .loneSurrogate), (#""\uD800\uD800""#, .loneSurrogate),
            (#""\uD800\u0041""#, .loneSurrogate), (#""\uD800x""#, .loneSurrogate),
            // keys
            (#"{"a":1,"a":2}"#, .duplicateKey), (#"{"a":1,"\u0061":2}"#, .duplicateKey),
            (#"{"\uD83D\uDE00":1,"😀":2}"#, .duplicateKey), (#"[{"":1,"":2}]"#, .duplicateKey),
            // ends
            ("", .incomplete), ("[", .incomplete), ("{\"a\"", .incomplete), ("\"abc", .incomplete),
            ("tru", .incomplete), ("1.", .incomplete), ("-", .incomplete), ("1 2", .trailingBytes),
            ("{}x", .trailingBytes),
        ] as [(String, JSONError.Reason)])
    func `refuses what RFC 8259 does not allow`(text: String, reason: JSONError.Reason) {
        let error = #expect(throws: JSONError.self) { try JSONValue.parse(text) }
        #expect(error?.reason == reason)
    }

    @Test(
        arguments: [
            [0xFF], [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
            [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80],
            [0xC3, 0x28],
            [0xE2, 0x82, 0x22], [0xF0, 0x9F, 0x98],
        ] as [[UInt8]])
    func `refuses invalid UTF-8`(bytes: [UInt8]) {
        let quoted = [UInt8(ascii: "\"")] + bytes + [UInt8(ascii: "\"")]
        let error = #expect(throws: JSONError.self) { try JSONValue.parse(quoted) }
        #expect(error?.reason == .invalidUTF8)
    }

    @Test(arguments: [
        "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}",
        "\u{10000}", "\u{10FFFF}",
    ])
    func `takes the ends of every UTF-8 range`(text: String) throws {
        #expect(try JSONValue.parse("\"\(text)\"") == .string(text))
        #expect(try JSONValue.parse("{\"\(text)\":1}")[text] == 1)
    }

    @Test func `takes 64 open containers and refuses 65`() throws {
        func nested(_ depth: Int, _ inside: String) -> String {
            String(repeating: "[", count: depth) + inside + String(repeating: "]", count: depth)
        }
        #expect(try JSONValue.parse(nested(64, "1")).array?.count == 1)
        #expect(try JSONValue.parse(nested(63, "{\"a\":1}")).array?.count == 1)
        let error = #expect(throws: JSONError.self) { try JSONValue.parse(nested(65, "")) }
        #expect(error?.reason == .tooDeep)
    }

    @Test func `takes 8192 tokens and refuses 8193`() throws {
        func list(_ count: Int) -> String {
            "[" + Array(repeating: "1", count: count).joined(separator: ",") + "]"
        }
        #expect(try JSONValue.parse(list(8190)).array?.count == 8190)
        let error = #expect(throws: JSONError.self) { try JSONValue.parse(list(8191)) }
        #expect(error?.reason == .tooManyTokens)
    }

    @Test func `takes 256 KiB and refuses one byte more`() throws {
        func text(_ byteCount: Int) -> String {
            "\"" + String(repeating: "a", count: byteCount - 2) + "\""
        }
        #expect(try JSONValue.parse(text(262_144)).string?.utf8.count == 262_142)
        let error = #expect(throws: JSONError.self) { try JSONValue.parse(text(262_145)) }
        #expect(error?.reason == .tooLong)
    }

    @Test func `says where each number stands`() throws {
        var scanner = JSONScanner()
        var rest = Array(#"  {"id":-1.50,"a":[2e1]} 7"#.utf8)[...]
        let text = try #require(try scanner.next(from: &rest))
        let literals = text.numberRanges.map { String(decoding: text.bytes[$0], as: UTF8.self) }
        #expect(literals == ["-1.50", "2e1"])
        #expect(try scanner.next(from: &rest) == nil)
        #expect(try scanner.finish()?.bytes == Array("7".utf8))
        #expect(try scanner.finish() == nil)
    }

    @Test func `stays broken after an error`() {
        var scanner = JSONScanner()
        var bad = Array("[01]".utf8)[...]
        let first = #expect(throws: JSONError.self) { try scanner.next(from: &bad) }
        var good = Array("{}".utf8)[...]
        let second = #expect(throws: JSONError.self) { try scanner.next(from: &good) }
        #expect(first == second)
        #expect(first?.offset == 2)
    }

    @Test(arguments: Seed.sample(200))
    func `finds the same values however the stream is split`(seed: Seed) throws {
        var random = seed
        let values = (0..<Int.random(in: 1..<6, using: &random)).map { _ in
            JSONValue.array([.random(depth: 4, using: &random)])
        }
        var stream: [UInt8] = []
        for value in values {
            stream += value.encoded()
            stream += Array(" \t\r\n".utf8.prefix(Int.random(in: 0...4, using: &random)))
        }
        var scanner = JSONScanner()
        var found: [JSONValue] = []
        var rest = stream[...]
        while !rest.isEmpty {
            var part = rest.prefix(Int.random(in: 1...7, using: &random))
            rest = rest.dropFirst(part.count)
            while let text = try scanner.next(from: &part) { found.append(try JSONValue(text)) }
        }
        #expect(found == values, "\(seed)")
        #expect(!scanner.isInsideValue)
    }

    @Test(arguments: Seed.sample(300))
    func `meets damaged values with an error or a value, never a trap`(seed: Seed) {
        var random = seed
        var bytes = JSONValue.random(depth: 5, using: &random).encoded()
        for _ in 0..<Int.random(in: 1..<4, using: &random) {
            let index = Int.random(in: 0..<bytes.count, using: &random)
            bytes[index] = UInt8.random(in: 0...255, using: &random)
        }
        if let value = try? JSONValue.parse(bytes) {
            #expect((try? JSONValue.parse(value.encoded())) == value, "\(seed)")
        }
    }
}
