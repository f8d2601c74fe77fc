internal import Bounded
internal import Memory
public import Platform

/// A RAM disk in a memory file.
///
/// Reads and writes are copied while they are submitted. Unmap and write zeroes fill with zeros, a
/// bounded part at each poll, so that no request holds up its reactor.
public final class MallocBackend: Backend {
    public let productName = "Malloc disk"
    public let geometry: BlockGeometry
    private let mapping: Mapping

    /// - Parameter mapping: at least as long as `geometry`; the disk starts at its first byte.
    public init(_ mapping: Mapping, _ geometry: BlockGeometry) {
        precondition(geometry.byteCount <= UInt64(mapping.byteCount), "disk beyond its memory")
        self.mapping = mapping
        self.geometry = geometry
    }

    public func supports(_ operation: BlockOperation) -> Bool { true }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        MallocChannel(mapping, blockByteCount: geometry.blockByteCount, depth: depth)
    }
}

private final class MallocChannel: BackendChannel {
    private let mapping: Mapping
    private let disk: HostSegment
    private let blockByteCount: Int
    private var ready: ReadyQueue
    private var zeroing: BoundedQueue<Zeroing>

    /// Bytes that one poll fills at most.
    private static let zeroingStep = 1 << 20

    private struct Zeroing: BitwiseCopyable {
        let tag: UInt32
        var offset: Int
        let end: Int
    }

    init(_ mapping: Mapping, blockByteCount: Int, depth: Int) {
        self.mapping = mapping
        disk = mapping.bytes.segment
        self.blockByteCount = blockByteCount
        ready = ReadyQueue(depth: depth)
        zeroing = BoundedQueue(capacity: depth)
    }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        for index in range {
            let request = batch[index]
            if index &+ 1 < range.upperBound, batch[index &+ 1].operation == .read {
                // Its blocks are cold; they arrive while this request is copied.
                part(batch[index &+ 1]).prefetch()
            }
            switch request.operation {
            case .read: request.segments.scatter(from: part(request))
            case .write: request.segments.gather(into: part(request))
            case .flush: break
            case .unmap, .writeZeroes:
                startZeroing(request)
                continue
            }
            ready.add(request.tag, .success)
        }
        return range.count
    }

    private func part(_ request: BlockRequest) -> HostSegment {
        disk.part(
            at: Int(request.block) &* blockByteCount,
            byteCount: Int(request.blockCount) &* blockByteCount)
    }

    private func startZeroing(_ request: BlockRequest) {
        let offset = Int(request.block) &* blockByteCount
        let fits = zeroing.push(
            Zeroing(
                tag: request.tag, offset: offset,
                end: offset &+ Int(request.blockCount) &* blockByteCount))
        precondition(fits, "more requests than the channel's depth")
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        if !zeroing.isEmpty { zero(MallocChannel.zeroingStep) }
        ready.move(into: &completions)
    }

    /// Goes on with the oldest range, and the next ones, for `budget` bytes in all.
    private func zero(_ budget: Int) {
        var budget = budget
        while budget > 0, var work = zeroing.first {
            let count = min(budget, work.end &- work.offset)
            disk.part(at: work.offset, byteCount: count).fill(with: 0)
            budget &-= count
            work.offset &+= count
            if work.offset < work.end {
                zeroing.replaceFirst(work)
                return
            }
            _ = zeroing.pop()
            ready.add(work.tag, .success)
        }
    }

    func abandonHeld() {}

    var wakeTime: Ticks? { ready.isEmpty && zeroing.isEmpty ? nil : Ticks(0) }
}
