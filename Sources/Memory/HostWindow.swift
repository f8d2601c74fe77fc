/// One region of host memory, kept at hand: most addresses lie where the last one did.
///
/// Valid while its `HostMemory` lives.
@safe
public struct HostWindow: BitwiseCopyable, @unchecked Sendable {
    // Sendable: as HostSegment.
    private let start: UInt64
    private let length: UInt64
    private let base: UnsafeMutableRawPointer

    @unsafe init(start: UInt64, length: UInt64, base: UnsafeMutableRawPointer) {
        self.start = start
        self.length = length
        unsafe self.base = unsafe base
    }

    /// A window that shows nothing.
    public init() {
        start = 0
        length = 0
        unsafe base = HostSegment.empty.pointer
    }

    /// All of the bytes asked for; nil when they do not all lie in this region.
    public func segment(at address: UInt64, byteCount: UInt32) -> HostSegment? {
        let offset = address &- start
        guard offset < length, UInt64(byteCount) <= length &- offset else { return nil }
        return unsafe HostSegment(
            base: base + Int(truncatingIfNeeded: offset), byteCount: Int(byteCount))
    }
}
