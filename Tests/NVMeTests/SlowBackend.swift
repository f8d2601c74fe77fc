import Bdev
import Bounded
import Platform

/// Its requests end one poll later than those of its base, all together.
final class SlowBackend: Backend {
    let productName = "slow"
    private let base: any Backend

    init(_ base: any Backend) { self.base = base }

    var geometry: BlockGeometry { base.geometry }
    func supports(_ operation: BlockOperation) -> Bool { base.supports(operation) }

    func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        SlowChannel(try base.openChannel(depth: depth, at: site))
    }
}

private final class SlowChannel: BackendChannel {
    private let base: any BackendChannel
    private var isReady = false
    private var isBusy = false

    init(_ base: any BackendChannel) { self.base = base }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        isReady = isBusy
        isBusy = true
        return base.submit(batch, range, now: now)
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        if isReady {
            base.poll(into: &completions, now: now)
            isBusy = base.wakeTime != nil
        }
        isReady = true
    }

    func abandonHeld() { base.abandonHeld() }
    var wakeTime: Ticks? { base.wakeTime }
}
