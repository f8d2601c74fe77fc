internal import Bounded
public import Platform

/// Memory of this process between host memory that is not mapped and the device models: parts for
/// queues, and chunks for the data of requests under way. Confined to one thread, whose queues
/// share it.
public final class StagingArea {
    /// Data of one request lies in so many bytes, or in several chunks.
    public static let chunkByteCount = 64 << 10
    /// Where device models see the area begin.
    private static let start: UInt64 = 1 << 20
    private static let alignment = 64

    /// The area as a device model's host memory.
    public let memory: HostMemory
    private let bytes: SharedBytes
    private var chunks: SlotPool
    private let chunkStart: Int
    /// Parts that are free, by offset, none beside another.
    private var free: [Range<Int>]
    private let owner: AnyObject?

    /// An area over all of `mapping`, with so many chunks at its end.
    /// - Parameter owner: what keeps a device's access to it.
    public init(_ mapping: Mapping, chunkCount: Int, owner: AnyObject? = nil) {
        chunkStart = mapping.byteCount - chunkCount * Self.chunkByteCount
        precondition(chunkStart > 0, "no room beside the chunks")
        memory = HostMemory(
            generation: 0,
            regions: [
                HostRegion(
                    guestAddress: Self.start, byteCount: UInt64(mapping.byteCount),
                    userAddress: Self.start, mapping: mapping, mappingOffset: 0)
            ])
        bytes = mapping.bytes
        chunks = SlotPool(capacity: chunkCount)
        free = [0..<chunkStart]
        self.owner = owner
    }

    /// A part of the area. Its owner gives it back.
    public struct Part: Sendable {
        public let bytes: SharedBytes
        /// Where device models see it.
        public let address: UInt64
        fileprivate let range: Range<Int>
    }

    /// `byteCount` bytes of zeros; nil when there is no room. Not for the poll loop.
    public func takePart(byteCount: Int) -> Part? {
        let size = (byteCount + Self.alignment - 1) & ~(Self.alignment - 1)
        guard let index = free.firstIndex(where: { $0.count >= size }) else { return nil }
        let start = free[index].lowerBound
        free[index] = start + size..<free[index].upperBound
        if free[index].isEmpty { free.remove(at: index) }
        let part = bytes.part(at: start, byteCount: size)
        part.segment.fill(with: 0)
        return Part(
            bytes: part, address: Self.start + UInt64(start), range: start..<start + size)
    }

    /// Nothing reads or writes `part` any more.
    public func giveBack(_ part: Part) {
        let index = free.firstIndex { $0.lowerBound >= part.range.upperBound } ?? free.count
        free.insert(part.range, at: index)
        for place in [index, index - 1] where place >= 0 && place + 1 < free.count {
            guard free[place].upperBound == free[place + 1].lowerBound else { continue }
            free[place] = free[place].lowerBound..<free[place + 1].upperBound
            free.remove(at: place + 1)
        }
    }

    // --- chunks ---

    public var freeChunkCount: Int { chunks.freeCount }
    public var chunkCount: Int { chunks.capacity }

    public func takeChunk() -> UInt32? { chunks.take() }
    public func giveBack(chunk: UInt32) { chunks.giveBack(chunk) }

    public func segment(ofChunk chunk: UInt32) -> HostSegment {
        bytes(ofChunk: chunk).segment
    }

    /// Where device models see the chunk.
    public func address(ofChunk chunk: UInt32) -> UInt64 {
        Self.start &+ UInt64(offset(chunk))
    }

    public func bytes(ofChunk chunk: UInt32) -> SharedBytes {
        bytes.part(at: offset(chunk), byteCount: Self.chunkByteCount)
    }

    private func offset(_ chunk: UInt32) -> Int {
        precondition(Int(chunk) < chunks.capacity)
        return chunkStart &+ Int(chunk) &* Self.chunkByteCount
    }
}
