import Platform
import Testing

@Suite struct `Message authentication` {
    /// Key, text and code of RFC 4231, test cases 1, 2 and 6.
    static let vectors: [(key: [UInt8], text: String, code: String)] = [
        (
            [UInt8](repeating: 0x0b, count: 20), "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (
            Array("Jefe".utf8), "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (
            [UInt8](repeating: 0xaa, count: 131),
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
    ]

    @Test(arguments: vectors.indices) func `gives the codes of RFC 4231`(index: Int) {
        let (key, text, expected) = Self.vectors[index]
        let code = MessageAuthentication.code(of: Array(text.utf8), key: key)
        let hex = code.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(hex == expected)
    }

    @Test func `tells codes apart`() {
        let code = MessageAuthentication.code(of: [], key: [1])
        #expect(MessageAuthentication.areEqual(code[...], code))
        for index in code.indices {
            var other = code
            other[index] ^= 0x80
            #expect(!MessageAuthentication.areEqual(other[...], code))
        }
        #expect(!MessageAuthentication.areEqual(code[1...], code))
    }
}
