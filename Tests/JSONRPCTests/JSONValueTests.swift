import JSONRPC
import Seeds
import Testing

@Suite struct `JSON values` {
    @Test(
        arguments: [
            ("null", nil),
            ("true", true),
            ("false", false),
            (" [ ] ", []),
            ("{}", [:]),
            ("\"\"", ""),
            ("\"a\\u0000b\"", "a\0b"),
            (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
            (#""\u00e9\uD83D\uDE00""#, "é😀"),
            ("[1,[2,{\"a\":3,\"b\":[4]}],5]", [1, [2, ["a": 3, "b": [4]]], 5]),
            (#"{"b":null,"a":[true,false]}"#, ["b": nil, "a": [true, false]]),
            (#"{"\u006eame":"x"}"#, ["name": "x"]),
        ] as [(String, JSONValue)])
    func `are what the text says`(text: String, value: JSONValue) throws {
        #expect(try JSONValue.parse(text) == value)
    }

    @Test(arguments: [
        "1.50", "-1E+05", "123456789012345678901234567890", "-0", "0", "1e400", "0.1",
    ])
    func `keep the characters of a number`(literal: String) throws {
        #expect(try JSONValue.parse(literal).encoded() == Array(literal.utf8))
        let nested = "[{\"a\":\(literal)},\(literal)]"
        #expect(try JSONValue.parse(nested).encoded() == Array(nested.utf8))
    }

    @Test(
        arguments: [
            ("1024.0", 1024), ("1e3", 1000), ("10240e-1", 1024), ("0", 0), ("0.0e5", 0),
            ("18446744073709551615", .max), ("184467440737095516150e-1", .max),
            ("0e999999999999", 0),
            ("100000000000000000000e-20", 1),
        ] as [(String, UInt64)])
    func `convert to unsigned when exact`(literal: String, number: UInt64) throws {
        #expect(try JSONValue.parse(literal).unsigned == number)
    }

    @Test(arguments: [
        "1.5", "-1", "-0", "18446744073709551616", "1e20", "1e99999999999999999999", "1e-1",
        "\"1\"", "true", "null",
    ])
    func `refuse to convert to unsigned what is not`(literal: String) throws {
        #expect(try JSONValue.parse(literal).unsigned == nil)
    }

    @Test(
        arguments: [
            ("-9223372036854775808", .min), ("9223372036854775807", .max), ("-0", 0),
            ("-12e1", -120), ("9223372036854775808", nil), ("-9223372036854775809", nil),
            ("-1.5", nil),
        ] as [(String, Int64?)])
    func `convert to signed when exact`(literal: String, number: Int64?) throws {
        #expect(try JSONValue.parse(literal).signed == number)
    }

    @Test func `are written as SPDK writes them`() {
        let value: JSONValue = [
            "a/b": "\"\\\u{8}\u{C}\n\r\t\u{1}\u{7F}é😀~ ", "n": [1, nil, true], "o": [:], "e": [],
        ]
        let text = #"{"a/b":"\"\\\b\f\n\r\t\u0001\u007F\u00E9\uD83D\uDE00~ ","n":[1,null,true],"#
        #expect(String(decoding: value.encoded(), as: UTF8.self) == text + #""o":{},"e":[]}"#)
    }

    @Test func `are indented by two`() {
        let value: JSONValue = ["a": [1, [:]], "b": "x"]
        let text = "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"x\"\n}"
        #expect(String(decoding: value.indented(), as: UTF8.self) == text)
    }

    @Test func `hold every character, escaped or not`() throws {
        for value in UInt32(1)...0x10FFFF where value % 97 == 0 || value & 0xF7FF == 0xD000 {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = JSONValue.string(String(Character(scalar)))
            #expect(try JSONValue.parse(text.encoded()) == text, "U+\(String(value, radix: 16))")
        }
        #expect(try JSONValue.parse(#""\uD836\uDC00""#) == "\u{1D800}")
    }

    @Test func `compare keys by their bytes`() throws {
        let object = try #require(try JSONValue.parse(#"{"\u212A":1,"K":2}"#).object)
        #expect(object["K"] == 2)
        #expect(object.keys.count == 2)
    }

    @Test func `replace, append and remove members in place`() {
        var object: JSONObject = ["a": 1, "b": 2]
        object["a"] = 3
        object["c"] = 4
        object["b"] = nil
        #expect(object == ["a": 3, "c": 4])
    }

    @Test func `refuse a key with NUL, which the tree cannot hold`() {
        #expect(throws: JSONError.self) { try JSONValue.parse(#"{"a\u0000":1,"a":2}"#) }
    }

    @Test(arguments: Seed.sample(200))
    func `survive writing and reading`(seed: Seed) throws {
        var random = seed
        let value = JSONValue.random(depth: 5, using: &random)
        #expect(try JSONValue.parse(value.encoded()) == value, "\(seed)")
        #expect(try JSONValue.parse(value.indented()) == value, "\(seed)")
    }
}

extension JSONValue {
    /// Any value; numbers, text and nesting of all shapes.
    static func random(depth: Int, using random: inout Seed) -> JSONValue {
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return JSONValue(Int64.random(in: .min ... .max, using: &random))
        case 3: return JSONValue(UInt64.random(in: 0 ... .max, using: &random))
        case 4: return .string(randomText(using: &random))
        case 5:
            return .array(
                (0..<Int.random(in: 0..<5, using: &random)).map { _ in
                    .random(depth: depth - 1, using: &random)
                })
        default:
            var object = JSONObject()
            for index in 0..<Int.random(in: 0..<5, using: &random) {
                let key = "\(index)" + randomText(using: &random).filter { $0 != "\0" }
                object.append(key, .random(depth: depth - 1, using: &random))
            }
            return .object(object)
        }
    }

    private static func randomText(using random: inout Seed) -> String {
        var text = ""
        for _ in 0..<Int.random(in: 0..<8, using: &random) {
            let limit: UInt32 = Bool.random(using: &random) ? 0x80 : 0x11_0000
            if let scalar = Unicode.Scalar(UInt32.random(in: 0..<limit, using: &random)) {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}
