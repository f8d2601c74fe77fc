internal import CPlatform
internal import Glibc
internal import Synchronization

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

    /// No bytes at all.
    public static let empty = unsafe HostSegment(
        base: UnsafeMutableRawPointer(bitPattern: 64).unsafelyUnwrapped, byteCount: 0)

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

    /// Has the processor fetch the beginning; it goes on by itself once the copy has begun.
    public func prefetch() {
        var offset = 0
        while offset < min(length, 512) {
            unsafe platform_prefetch(base + offset)
            offset &+= 64
        }
    }

    public func fill(with byte: UInt8) {
        unsafe memset(base, Int32(byte), length)
    }

    public func load<Value: BitwiseCopyable>(_ type: Value.Type, at offset: Int = 0) -> Value {
        precondition(offset >= 0 && offset <= length &- MemoryLayout<Value>.size)
        return unsafe (base + offset).loadUnaligned(as: type)
    }

    /// Sixteen bytes as two words, each read once: what the host writes meanwhile cannot be seen
    /// twice.
    public func loadPair() -> (low: UInt64, high: UInt64) {
        precondition(length >= 16)
        if address & 7 == 0 {
            let words = unsafe base.assumingMemoryBound(to: Atomic<UInt64>.self)
            return unsafe (
                words[0].load(ordering: .relaxed), words[1].load(ordering: .relaxed)
            )
        }
        return loadUnalignedPair()
    }

    @inline(never)
    private func loadUnalignedPair() -> (low: UInt64, high: UInt64) {
        var pair: (UInt64, UInt64) = (0, 0)
        for index in 0..<16 {
            let byte = unsafe (base + index).assumingMemoryBound(to: Atomic<UInt8>.self)
                .pointee.load(ordering: .relaxed)
            if index < 8 {
                pair.0 |= UInt64(byte) << (8 * UInt64(index))
            } else {
                pair.1 |= UInt64(byte) << (8 * UInt64(index - 8))
            }
        }
        return pair
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
