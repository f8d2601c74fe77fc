public import Platform
internal import Synchronization

/// A view of memory that another party reads and writes at the same time: rings, register pages,
/// in-flight areas. Every access is bounds-checked; the atomic ones are naturally aligned.
///
/// Does not own the memory: its `Mapping` outlives it.
@safe
public struct SharedBytes: BitwiseCopyable, @unchecked Sendable {
    // Sendable: the memory is shared by design; ordering is stated at each access.
    private let base: UnsafeMutableRawPointer
    public let byteCount: Int

    @unsafe public init(base: UnsafeMutableRawPointer, byteCount: Int) {
        unsafe self.base = unsafe base
        self.byteCount = byteCount
    }

    /// The part that starts at `offset`.
    public func part(at offset: Int, byteCount: Int) -> SharedBytes {
        precondition(offset >= 0 && byteCount >= 0 && offset <= self.byteCount &- byteCount)
        return unsafe SharedBytes(base: base + offset, byteCount: byteCount)
    }

    public var segment: HostSegment { unsafe HostSegment(base: base, byteCount: byteCount) }

    public var address: UInt { unsafe UInt(bitPattern: base) }

    /// Copies a value out, once. Not atomic as a whole: order it with the loads around it.
    public func load<Value: BitwiseCopyable>(_ type: Value.Type, at offset: Int) -> Value {
        precondition(offset >= 0 && offset <= byteCount &- MemoryLayout<Value>.size)
        return unsafe (base + offset).loadUnaligned(as: type)
    }

    public func store<Value: BitwiseCopyable>(_ value: Value, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount &- MemoryLayout<Value>.size)
        unsafe (base + offset).storeBytes(of: value, as: Value.self)
    }

    public func loadAcquire16(at offset: Int) -> UInt16 {
        unsafe atomic(UInt16.self, at: offset).pointee.load(ordering: .acquiring)
    }
    public func loadRelaxed16(at offset: Int) -> UInt16 {
        unsafe atomic(UInt16.self, at: offset).pointee.load(ordering: .relaxed)
    }
    public func storeRelease16(_ value: UInt16, at offset: Int) {
        unsafe atomic(UInt16.self, at: offset).pointee.store(value, ordering: .releasing)
    }
    public func storeRelaxed16(_ value: UInt16, at offset: Int) {
        unsafe atomic(UInt16.self, at: offset).pointee.store(value, ordering: .relaxed)
    }
    public func loadAcquire32(at offset: Int) -> UInt32 {
        unsafe atomic(UInt32.self, at: offset).pointee.load(ordering: .acquiring)
    }
    public func storeRelease32(_ value: UInt32, at offset: Int) {
        unsafe atomic(UInt32.self, at: offset).pointee.store(value, ordering: .releasing)
    }
    public func loadAcquire64(at offset: Int) -> UInt64 {
        unsafe atomic(UInt64.self, at: offset).pointee.load(ordering: .acquiring)
    }
    public func storeRelease64(_ value: UInt64, at offset: Int) {
        unsafe atomic(UInt64.self, at: offset).pointee.store(value, ordering: .releasing)
    }
    public func storeRelease8(_ value: UInt8, at offset: Int) {
        unsafe atomic(UInt8.self, at: offset).pointee.store(value, ordering: .releasing)
    }
    public func loadAcquire8(at offset: Int) -> UInt8 {
        unsafe atomic(UInt8.self, at: offset).pointee.load(ordering: .acquiring)
    }

    /// Sets bits in one step, whoever else changes others of the same byte.
    public func setBits(_ bits: UInt8, at offset: Int) {
        unsafe atomic(UInt8.self, at: offset).pointee.bitwiseOr(
            bits, ordering: .sequentiallyConsistent)
    }

    /// Clears bits in one step. Returns the byte as it was.
    public func clearBits(_ bits: UInt8, at offset: Int) -> UInt8 {
        unsafe atomic(UInt8.self, at: offset).pointee.bitwiseAnd(
            ~bits, ordering: .sequentiallyConsistent
        ).oldValue
    }

    private func atomic<Value: AtomicRepresentable>(
        _ type: Value.Type, at offset: Int
    ) -> UnsafeMutablePointer<Atomic<Value>> {
        let size = MemoryLayout<Value>.size
        precondition(offset >= 0 && offset <= byteCount &- size)
        precondition(unsafe UInt(bitPattern: base + offset) & UInt(size &- 1) == 0, "unaligned")
        return unsafe (base + offset).assumingMemoryBound(to: Atomic<Value>.self)
    }
}

extension Mapping {
    /// The whole mapping as a view. The caller keeps the mapping while it uses the view.
    public var bytes: SharedBytes { unsafe SharedBytes(base: address, byteCount: byteCount) }
}

/// Orders every access before it with every access after it.
public func fullFence() { atomicMemoryFence(ordering: .sequentiallyConsistent) }
