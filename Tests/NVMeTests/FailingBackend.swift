import Bdev
import Bounded
import Platform

/// Fails everything.
final class FailingBackend: Backend {
    let productName = "failing"
    let geometry: BlockGeometry

    init(_ geometry: BlockGeometry) { self.geometry = geometry }

    func supports(_ operation: BlockOperation) -> Bool { true }

    func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        FailingChannel(depth)
    }
}

private final class FailingChannel: BackendChannel {
    private var taken: BoundedQueue<UInt32>

    init(_ depth: Int) { taken = BoundedQueue(capacity: depth) }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        for index in range { _ = taken.push(batch[index].tag) }
        return range.count
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        while !completions.isFull, let tag = taken.pop() {
            completions.append(BlockCompletion(tag: tag, status: .failed))
        }
    }

    func abandonHeld() {}
    var wakeTime: Ticks? { taken.isEmpty ? nil : Ticks(0) }
}
