internal import Bounded
internal import Memory
internal import Platform

/// Page-aligned buffers for data that direct I/O cannot reach where it is.
struct BouncePool: ~Copyable {
    /// Larger data goes through in pieces of this size.
    let bufferByteCount: Int
    private let memory: Mapping
    private var buffers: SlotPool

    /// Memory is used from the first touch of a buffer on.
    init(bufferCount: Int, bufferByteCount: Int) throws(SystemError) {
        let size = bufferCount * bufferByteCount
        let file = try MemoryFile.create(name: "bounce", byteCount: UInt64(size))
        memory = try Mapping(file.number, byteCount: size)
        buffers = SlotPool(capacity: bufferCount)
        self.bufferByteCount = bufferByteCount
    }

    var isEmpty: Bool { buffers.freeCount == 0 }

    /// A free buffer; nil when all are taken.
    mutating func take() -> UInt32? { buffers.take() }
    mutating func giveBack(_ buffer: UInt32) { buffers.giveBack(buffer) }

    /// The first `byteCount` bytes of a buffer.
    func segment(_ buffer: UInt32, byteCount: Int) -> HostSegment {
        precondition(byteCount <= bufferByteCount)
        return memory.bytes.segment.part(
            at: Int(buffer) &* bufferByteCount, byteCount: byteCount)
    }
}
