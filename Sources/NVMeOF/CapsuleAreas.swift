internal import CWire
public import Memory
public import Platform

/// The memory of one NVMe/RDMA queue: capsules that are sent and answers that come, which are
/// nobody else's; and behind them the buffer that the target reads and writes.
public struct CapsuleAreas {
    /// Data that is staged takes whole units of the buffer.
    static let unitByteCount = 4096

    public let mapping: Mapping
    /// Bytes before the buffer.
    public let privateByteCount: Int
    public let bufferByteCount: Int
    let answerCount: Int
    /// So many places are given to the device by one doorbell.
    let answerBatch: Int
    private let capsuleByteCount: Int
    private let answerStart: Int

    public init(_ shape: CapsuleQueue.Shape) throws(SystemError) {
        capsuleByteCount = Int(NVME_SQE_BYTES) + shape.capsuleDataByteCount
        answerStart = shape.depth * capsuleByteCount
        // Those that answers came to wait until a batch of them is given again at once.
        answerBatch = max(1, shape.depth / 4)
        answerCount = shape.depth + answerBatch
        let unit = CapsuleAreas.unitByteCount
        let end = answerStart + answerCount * Int(NVME_CQE_BYTES)
        privateByteCount = (end + unit - 1) / unit * unit
        bufferByteCount = shape.bufferByteCount
        let total = privateByteCount + bufferByteCount
        let file = try MemoryFile.create(name: "capsules", byteCount: UInt64(total))
        mapping = try Mapping(file.number, byteCount: total)
    }

    /// The command capsule of a slot, with room for data.
    public func capsule(_ slot: Int) -> HostSegment {
        mapping.bytes.segment.part(at: slot &* capsuleByteCount, byteCount: capsuleByteCount)
    }

    /// Where answer `index` may come to.
    public func answer(_ index: Int) -> HostSegment {
        mapping.bytes.segment.part(
            at: answerStart &+ index &* Int(NVME_CQE_BYTES), byteCount: Int(NVME_CQE_BYTES))
    }

    func buffer(at offset: Int, byteCount: Int) -> HostSegment {
        mapping.bytes.segment.part(at: privateByteCount &+ offset, byteCount: byteCount)
    }
}
