internal import CWire
internal import Memory

/// One descriptor, copied out of the ring in two reads (Virtio 1.2 §2.7.5, §2.8.13). The driver may
/// still change the original: this copy is what counts.
struct RingDescriptor: BitwiseCopyable {
    let address: UInt64
    private let rest: UInt64

    /// Nil where the table has no such entry.
    @inline(__always)
    init?(_ entry: (low: UInt64, high: UInt64)?) {
        guard let entry else { return nil }
        address = entry.low
        rest = entry.high
    }

    var length: UInt32 { UInt32(truncatingIfNeeded: rest) }

    // Split: flags, then the next index.
    var splitFlags: Int { Int(UInt16(truncatingIfNeeded: rest &>> 32)) }
    var next: Int { Int(truncatingIfNeeded: rest &>> 48) }

    // Packed: buffer id, then flags.
    var id: UInt16 { UInt16(truncatingIfNeeded: rest &>> 32) }
    var packedFlags: Int { Int(truncatingIfNeeded: rest &>> 48) }
}

/// The first sixteen bytes of a request (Virtio 1.2 §5.2.6), copied out in two reads.
struct RequestHeader: BitwiseCopyable {
    let type: Int
    let sector: UInt64

    @inline(__always)
    init(_ pair: (low: UInt64, high: UInt64)) {
        type = Int(UInt32(truncatingIfNeeded: pair.low))
        sector = pair.high
    }
}
