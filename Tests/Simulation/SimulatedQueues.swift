import Bdev
import Bounded
import Memory
import NVMe
import Platform
import Seeds

/// How a queue stands on its reactor: polled while busy, armed and left alone when idle, woken by
/// its doorbells, by a device or by its timer.
enum Standing {
    case hot(idleTurns: Int)
    case asleep

    /// The step after a turn; nil when it is time to arm.
    func after(done: Int) -> Standing? {
        if done > 0 { return .hot(idleTurns: 0) }
        if case .hot(let idle) = self, idle < 2 { return .hot(idleTurns: idle + 1) }
        return nil
    }

    var isAsleep: Bool {
        if case .asleep = self { return true }
        return false
    }
}

/// A completion queue and its submission queues.
final class SimulatedIOQueue {
    let queue: any SimulatedModel
    /// Kept, so that they can be brought to their end after a crash.
    private(set) var channels: [BlockChannel] = []
    private var standing = Standing.hot(idleTurns: 0)
    /// Turns in a row that found nothing.
    private var idleTurns = 0
    private let function: SimulatedFunction
    /// Of a mirrored queue: whether a doorbell has been rung, and turns in a row at rest.
    private var wasCalled = false
    private var stillTurns = 0
    /// Queues whose doorbells wake it.
    var watched: [UInt16]

    init(_ queue: any SimulatedModel, _ function: SimulatedFunction) {
        watched = [queue.id]
        self.queue = queue
        self.function = function
    }

    func attach(_ view: NamespaceView, _ disk: BlockDevice) throws {
        let channel = try disk.openChannel(depth: IOQueue.channelDepth, at: .unwatched)
        channels.append(channel)
        queue.attach(view, channel: channel)
    }

    func heat() {
        stillTurns = 0
        if standing.isAsleep || queue.isAtRest != nil { queue.disableDoorbellEvents() }
        standing = .hot(idleTurns: 0)
    }

    private var isCalled: Bool { function.isMapped || watched.contains { function.kicks[Int($0)] } }

    var isAtRest: Bool {
        // A driver without interrupts looks once more.
        if queue.isAtRest != nil { return stillTurns > 2 }
        return (function.isMapped ? idleTurns > 20 : standing.isAsleep) && queue.wakeTime == nil
            && !watched.contains { function.kicks[Int($0)] }
    }

    func turn(now: Ticks) {
        if queue.isAtRest != nil { return turnMirrored(now: now) }
        if standing.isAsleep {
            let isDue = queue.wakeTime.map { $0 <= now } ?? false
            guard isCalled || isDue else { return }
            for id in watched { function.kicks[Int(id)] = false }
            heat()
        }
        let done = queue.poll(now: now)
        idleTurns = done > 0 ? 0 : idleTurns + 1
        if let next = standing.after(done: done) {
            standing = next
        } else {
            standing = queue.enableDoorbellEvents() ? .asleep : .hot(idleTurns: 0)
        }
    }

    /// Hears of doorbells; others may watch the same.
    func listen() { if watched.contains(where: { function.kicks[Int($0)] }) { wasCalled = true } }

    /// Left alone between its transfers.
    private func turnMirrored(now: Ticks) {
        defer { stillTurns = queue.isAtRest == true ? stillTurns + 1 : 0 }
        if function.isMapped || wasCalled {
            wasCalled = false
            queue.kick(isMapped: function.isMapped)
            idleTurns = 0
        } else if idleTurns > 0, queue.outstanding == 0 {
            guard let time = queue.wakeTime, time <= now else { return queue.rest() }
        }
        idleTurns = queue.poll(now: now) > 0 ? 0 : idleTurns + 1
    }

    var fault: QueueFault? {
        if case .failed(let fault) = queue.phase { return fault }
        return nil
    }
}

final class SimulatedAdminQueue {
    let queue: any SimulatedAdminModel
    let run: Int
    private var standing = Standing.hot(idleTurns: 0)
    /// Turns in a row that found nothing.
    private var idleTurns = 0
    private let function: SimulatedFunction

    init(_ queue: any SimulatedAdminModel, run: Int, _ function: SimulatedFunction) {
        self.queue = queue
        self.run = run
        self.function = function
    }

    func heat() {
        if standing.isAsleep { queue.disableDoorbellEvents() }
        standing = .hot(idleTurns: 0)
    }

    var isAtRest: Bool {
        if function.kicks[0] || queue.isAtRest == false { return false }
        return function.isMapped || queue.isAtRest != nil ? idleTurns > 20 : standing.isAsleep
    }

    func turn(now: Ticks, onCommand: (AdminCommand) -> Void) {
        if standing.isAsleep {
            guard function.isMapped || function.kicks[0] || queue.isAtRest == false else {
                idleTurns += 1
                return
            }
            function.kicks[0] = false
            heat()
        }
        let done = queue.poll(now: now)
        idleTurns = done > 0 ? 0 : idleTurns + 1
        while let command = queue.next() { onCommand(command) }
        if let next = standing.after(done: done) {
            standing = next
        } else {
            standing = queue.enableDoorbellEvents() ? .asleep : .hot(idleTurns: 0)
        }
    }

    var fault: QueueFault? {
        if case .failed(let fault) = queue.phase { return fault }
        return nil
    }
}
