internal import CCrypto

/// HMAC-SHA-256 (RFC 2104): who knows the key has sent these bytes.
public enum MessageAuthentication {
    public static let byteCount = 32

    /// 32 bytes.
    public static func code(of bytes: [UInt8], key: [UInt8]) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: byteCount)
        var count: UInt32 = 0
        let made = unsafe HMAC(
            EVP_sha256(), key, Int32(key.count), bytes, bytes.count, &code, &count)
        precondition(unsafe made != nil && count == UInt32(byteCount), "SHA-256 has 32 bytes")
        return code
    }

    /// Compares in a time that tells nothing of where two codes differ.
    public static func areEqual(_ one: ArraySlice<UInt8>, _ other: [UInt8]) -> Bool {
        guard one.count == other.count else { return false }
        return unsafe one.withUnsafeBytes { one in
            unsafe CRYPTO_memcmp(one.baseAddress, other, other.count) == 0
        }
    }
}
