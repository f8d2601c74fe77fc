internal import CPlatform

/// A CRC-32C digest (RFC 3720 B.4), as NVMe/TCP has it.
public struct CRC32C: BitwiseCopyable, Sendable {
    private var state: UInt32 = 0xFFFF_FFFF

    public init() {}

    /// Of everything added so far.
    public var digest: UInt32 { ~state }

    public mutating func add(_ segment: HostSegment) {
        state = unsafe crc32c_update(state, segment.pointer, segment.byteCount)
    }

    /// As `add`, without the processor's instruction.
    mutating func addByTable(_ segment: HostSegment) {
        state = unsafe crc32c_update_by_table(state, segment.pointer, segment.byteCount)
    }

    public static func digest(of segment: HostSegment) -> UInt32 {
        var crc = CRC32C()
        crc.add(segment)
        return crc.digest
    }
}
