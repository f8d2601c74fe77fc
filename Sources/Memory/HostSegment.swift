internal import Glibc

/// A run of bytes in a mapped memory, laid out as an iovec (readv(2)).
///
/// Does not own the memory: whoever hands a segment out keeps the mapping until the request that
/// uses it has ended.
@safe
public struct HostSegment: BitwiseCopyable, @unchecked Sendable {
    // Sendable: shared memory has no owner in this process; its users agree by protocol.
    private let base: UnsafeMutableRawPointer
    private let length: Int

    @unsafe public init(base: UnsafeMutableRawPointer, byteCount: Int) {
        unsafe self.base = unsafe base
        length = byteCount
    }

    public var byteCount: Int { length }

    /// Address, for alignment and for system calls.
    public var address: UInt { unsafe UInt(bitPattern: base) }

    /// The part that starts at `offset` and has `byteCount` bytes.
    public func part(at offset: Int, byteCount: Int) -> HostSegment {
        precondition(offset >= 0 && byteCount >= 0 && offset <= length &- byteCount)
        return unsafe HostSegment(base: base + offset, byteCount: byteCount)
    }

    /// Copies all of `source` to `offset`.
    public func copy(from source: HostSegment, at offset: Int = 0) {
        precondition(offset >= 0 && offset <= length &- source.length)
        unsafe memcpy(base + offset, source.base, source.length)
    }

    public func fill(with byte: UInt8) {
        unsafe memset(base, Int32(byte), length)
    }

    public func load<Value: BitwiseCopyable>(_ type: Value.Type, at offset: Int = 0) -> Value {
        precondition(offset >= 0 && offset <= length &- MemoryLayout<Value>.size)
        return unsafe (base + offset).loadUnaligned(as: type)
    }

    public func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int = 0) {
        precondition(offset >= 0 && offset <= length &- MemoryLayout<Value>.size)
        unsafe (base + offset).storeBytes(of: value, as: Value.self)
    }

    /// Copies `bytes` to the start; what does not fit is left out.
    public func store(bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe memcpy(base, start, min(length, source.count))
        }
    }

    public func bytes() -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: base, count: length))
    }

    public func isEqual(to other: HostSegment) -> Bool {
        if length != other.length { return false }
        return unsafe memcmp(base, other.base, length) == 0
    }

    /// For the calls that take memory by address (libaio, verbs).
    @unsafe public var pointer: UnsafeMutableRawPointer { unsafe base }
}
