internal import CWire
internal import Memory

/// A submission queue entry, copied out of the ring: decisions use this copy only.
struct Command: BitwiseCopyable {
    let line: CacheLine

    init(_ line: CacheLine) { self.line = line }

    var opcode: Int { Int(line.word0 & 0xFF) }
    var fuse: Int { Int(line.word0 >> 8 & 3) }
    var dataPointerKind: Int { Int(line.word0 >> 14 & 3) }
    var id: UInt16 { UInt16(truncatingIfNeeded: line.word0 >> 16) }
    var namespace: UInt32 { UInt32(truncatingIfNeeded: line.word0 >> 32) }
    /// PRP entries 1 and 2, or an SGL descriptor.
    var dataPointer: (first: UInt64, second: UInt64) { (line.word3, line.word4) }
    /// Dwords 10 and 11 of the commands that name blocks.
    var block: UInt64 { line.word5 }
    /// Blocks asked for; the field is 0-based.
    var blockCount: UInt64 { (line.word6 & 0xFFFF) &+ 1 }
    var isForced: Bool { line.word6 >> UInt64(NVME_RW_FUA_SHIFT) & 1 != 0 }
    var rangeCount: Int { Int(line.word5 & 0xFF) &+ 1 }
    var deallocates: Bool { line.word5 >> 32 & UInt64(NVME_DSM_DEALLOCATE) != 0 }
}
