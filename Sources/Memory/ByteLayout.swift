/// Wire structures as bytes, for messages that are made rarely.
public enum ByteLayout {
    public static func bytes<Value: BitwiseCopyable>(of value: Value) -> [UInt8] {
        unsafe withUnsafeBytes(of: value) { unsafe Array($0) }
    }

    /// The structure at `offset`; nil when `bytes` ends before it does.
    public static func load<Value: BitwiseCopyable>(
        _ type: Value.Type, from bytes: [UInt8], at offset: Int = 0
    ) -> Value? {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<Value>.size else { return nil }
        return unsafe bytes.withUnsafeBytes {
            unsafe $0.loadUnaligned(fromByteOffset: offset, as: type)
        }
    }
}
