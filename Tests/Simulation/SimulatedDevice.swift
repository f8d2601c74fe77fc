import Bdev
import Memory
import Platform
import Seeds
import StoreProbe
import VirtioBlk

/// An interrupt line that remembers.
final class SimulatedLine: InterruptLine {
    var isPending = false
    /// A bug on purpose: one interrupt in so many is lost.
    var losesOneIn = 0
    var random = Seed(1)

    func raise() -> Bool {
        // The dead raise nothing.
        if store_probe_has_cut() { return true }
        if losesOneIn > 0, random.oneIn(losesOneIn) { return true }
        isPending = true
        return true
    }
}

/// A block queue on a reactor: polled while busy, armed and left alone when idle, woken by a kick,
/// by a device or by its timer.
final class SimulatedDevice {
    enum Standing {
        case hot(idleTurns: Int)
        case asleep
    }

    var queue: BlockQueue
    /// Kept, so that it can be brought to its end after a crash.
    var channel: BlockChannel
    private(set) var standing = Standing.hot(idleTurns: 0)
    var isKicked = false

    init(_ queue: consuming BlockQueue, channel: BlockChannel) {
        self.queue = queue
        self.channel = channel
    }

    var isAsleep: Bool {
        if case .asleep = standing { return true }
        return false
    }

    func heat() {
        if isAsleep { queue.disableKicks() }
        standing = .hot(idleTurns: 0)
    }

    /// One turn of its reactor.
    func turn(now: Ticks) {
        switch standing {
        case .asleep:
            let isDue = queue.wakeTime.map { $0 <= now } ?? false
            guard isKicked || isDue else { return }
            isKicked = false
            heat()
        case .hot(let idleTurns):
            if queue.poll(now: now) > 0 {
                standing = .hot(idleTurns: 0)
            } else if idleTurns < 2 {
                standing = .hot(idleTurns: idleTurns + 1)
            } else if queue.enableKicks() {
                standing = .asleep
            } else {
                standing = .hot(idleTurns: 0)
            }
        }
    }
}

extension ChannelSite {
    static var unwatched: ChannelSite { ChannelSite(watch: { _ in }, unwatch: { _ in }) }
}
