internal import Bounded
public import Platform
internal import Synchronization

/// Takes everything and keeps nothing; what a read leaves in memory is what was there before.
public final class NullBackend: Backend {
    public let productName = "Null disk"
    private let blockByteCount: Int
    private let blockCount: Atomic<UInt64>

    public init(_ geometry: BlockGeometry) {
        blockByteCount = geometry.blockByteCount
        blockCount = Atomic(geometry.blockCount)
    }

    public var geometry: BlockGeometry {
        BlockGeometry(
            blockByteCount: blockByteCount, blockCount: blockCount.load(ordering: .relaxed))
    }

    public func supports(_ operation: BlockOperation) -> Bool {
        switch operation {
        case .read, .write, .writeZeroes: true
        case .flush, .unmap: false
        }
    }

    /// Larger or smaller; requests under way end as they would have.
    public func resize(toBlockCount count: UInt64) { blockCount.store(count, ordering: .relaxed) }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        NullChannel(depth: depth)
    }
}

private final class NullChannel: BackendChannel {
    private var ready: ReadyQueue

    init(depth: Int) { ready = ReadyQueue(depth: depth) }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        for index in range { ready.add(batch[index].tag, .success) }
        return range.count
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        ready.move(into: &completions)
    }

    func abandonHeld() {}

    var wakeTime: Ticks? { ready.isEmpty ? nil : Ticks(0) }
}
