internal import Synchronization

/// A view of a row of sixteen-byte entries that another party writes at the same time: descriptor
/// tables. Aligned when it is made, so an entry costs one comparison and two loads.
@safe
public struct SharedTable: BitwiseCopyable, @unchecked Sendable {
    // Sendable: as SharedBytes.
    private let base: UnsafeMutableRawPointer
    public let count: Int

    /// Nil unless `bytes` is aligned to 8.
    public init?(_ bytes: SharedBytes) {
        guard bytes.address & 7 == 0 else { return nil }
        unsafe base = bytes.segment.pointer
        count = bytes.byteCount / 16
    }

    /// The entry as two words, each read once and by one instruction: what a driver writes
    /// meanwhile cannot be seen twice. Nil past the end.
    public func entry(at index: Int) -> (low: UInt64, high: UInt64)? {
        guard UInt(bitPattern: index) < UInt(bitPattern: count) else { return nil }
        let words = unsafe (base + 16 &* index).assumingMemoryBound(to: Atomic<UInt64>.self)
        return unsafe (
            words[0].load(ordering: .relaxed), words[1].load(ordering: .relaxed)
        )
    }
}
