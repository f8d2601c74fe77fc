internal import Bdev
internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// One path's queue pair on one reactor, shared by the channels there. Confined to the reactor's
/// thread.
///
/// Whoever polls first in a turn of the reactor receives for all, and leaves each channel its own
/// answers.
final class IOQueue {
    private static let channelCapacity = 4096
    private static let none = UInt32.max
    /// A command that was given up is answered within that time, or its connection ends.
    private static let patience = Ticks.from(nanoseconds: 2_000_000_000)

    let berth: Berth
    private let site: ChannelSite
    private var link = Link.none
    /// Takes the place of `link` when that has ended.
    private var successor = Link.none
    /// A slot for each command that is under way, or answered and not taken.
    private var slots: SlotPool
    private var operations: FixedTable<Operation>
    private var channels = SlotPool(capacity: channelCapacity)
    /// By channel: slots of what has been answered.
    private var answered: SlotLists
    private var lastTurn = Ticks(0)
    /// Number of the last connection that it took.
    private var newest: UInt64 = 0
    /// Of the present connection, as far as it is counted.
    private var counted = PathWork()

    /// What it sends commands by.
    enum Link {
        case none
        case own(TransportQueue)
        /// Part of a queue pair that a thread drives.
        case shared(SharedQueueClient)

        /// Among the connections of its berth.
        var number: UInt64 {
            switch self {
            case .none: 0
            case .own(let connection): connection.number
            case .shared(let client): client.number
            }
        }
    }

    /// Commands under way that were given up, and when the connection ends for them.
    private var stalled = 0
    private var stallEnd = Ticks(0)
    private var timer: CommandTimer

    /// How a command ended.
    enum End: Equatable {
        /// Status field without phase tag.
        case status(UInt16)
        /// Its connection ended first.
        case lost
    }

    private struct Operation: BitwiseCopyable {
        /// `none` when its channel has gone.
        var channel = IOQueue.none
        var tag: UInt32 = 0
        var end = End.lost
        var startedAt = Ticks(0)
        var isUnderWay = false
        /// Given up: its end is waited for, for a while.
        var isStalled = false
        /// The target has been asked to abort it, at `startedAt`.
        var isAborting = false
    }

    /// - Parameter depth: of every connection that the berth gets, at most.
    init(_ berth: Berth, depth: Int, _ timeout: CommandTimeout, at site: ChannelSite) {
        timer = CommandTimer(timeout)
        slots = SlotPool(capacity: depth)
        operations = FixedTable(count: depth, repeating: Operation())
        answered = SlotLists(count: IOQueue.channelCapacity, slotCount: depth)
        self.berth = berth
        self.site = site
        site.wake(on: berth.bellNumber)
    }

    // MARK: Channels

    /// A number for a new channel, until it leaves. ENOSPC: the reactor has 4096 of them.
    func attach() throws(SystemError) -> UInt32 {
        if let channel = channels.take() {
            if channels.takenCount == 1 { enter() }
            return channel
        }
        throw SystemError("open channel of a remote namespace", code: ErrorNumber.noSpace)
    }

    /// What is under way for the channel ends without it.
    func leave(_ channel: UInt32) {
        while next(channel) != nil {}
        for slot in 0..<operations.count
        where slots.isTaken(UInt32(slot)) && operations[slot].channel == channel {
            operations[slot].channel = IOQueue.none
        }
        channels.giveBack(channel)
        if channels.takenCount == 0 { rest() }
    }

    private func enter() {
        if !berth.mailbox.isEmpty { berth.mailbox.drain(self) }
        if let idle = berth.enter() { adopt(.own(idle)) }
    }

    /// Nobody polls from here on: a connection that has nothing under way is the path's.
    private func rest() {
        guard case .own(let connection) = link, connection.phase == .ready,
            connection.outstanding == 0, case .none = successor
        else { return berth.leave(nil) }
        site.stopWaking(on: connection.descriptor)
        link = .none
        berth.outstanding = 0
        berth.leave(connection)
    }

    func hasAnswers(_ channel: UInt32) -> Bool { !answered.isEmpty(Int(channel)) }

    /// The channel's oldest answer.
    func next(_ channel: UInt32) -> (tag: UInt32, end: End)? {
        guard let slot = answered.popFirst(of: Int(channel)) else { return nil }
        let operation = operations[Int(slot)]
        slots.giveBack(slot)
        return (operation.tag, operation.end)
    }

    private func append(_ slot: UInt32, _ end: End) {
        if operations[Int(slot)].isStalled {
            operations[Int(slot)].isStalled = false
            stalled &-= 1
        }
        let channel = operations[Int(slot)].channel
        if channel == IOQueue.none { return slots.giveBack(slot) }
        operations[Int(slot)].end = end
        operations[Int(slot)].isUnderWay = false
        answered.append(slot, to: Int(channel))
    }

    // MARK: Connections

    /// Takes a new connection in the place of the old one, when that has ended. One that was given
    /// back when the next was on its way already is older than what is here, and ends.
    func adopt(_ new: Link) {
        if new.number < newest {
            if case .own(let old) = new { old.end(.revoked) }
            return
        }
        newest = new.number
        successor = new
        if case .own(let old) = link { old.end(.revoked) }
        release(isRevoked: true)
        succeed()
    }

    private func succeed() {
        guard case .none = link else { return }
        link = successor
        successor = .none
        if case .own(let connection) = link {
            // Connect has done some.
            counted = connection.work
            site.wake(on: connection.descriptor)
        }
    }

    // MARK: Requests

    var isConnected: Bool {
        switch link {
        case .none: false
        case .own(let connection): connection.phase == .ready
        case .shared(let client): client.endedBy == nil
        }
    }

    var hasRoom: Bool {
        if slots.freeCount == 0 { return false }
        return switch link {
        case .none: false
        case .own(let connection): connection.hasRoom
        case .shared(let client): client.hasRoom
        }
    }

    /// Starts a command; there is room. `flush` sends it.
    func start(
        _ command: nvme_sqe, _ transfer: QueuePair.Transfer, channel: UInt32, tag: UInt32,
        now: Ticks
    ) {
        guard let slot = slots.take() else { preconditionFailure("no room in the I/O queue") }
        operations[Int(slot)] = Operation(
            channel: channel, tag: tag, startedAt: now, isUnderWay: true)
        let token = UInt64(slot)
        switch link {
        case .none: preconditionFailure("no room without a connection")
        case .own(let connection): connection.start(command, transfer, token: token)
        case .shared(let client): client.start(command, transfer, token: token)
        }
    }

    /// Gives up a channel's command. A read ends here when its memory is touched by nobody else
    /// (`QueuePair.revokeRead`): true. Another command ends by itself. Where that leaves memory of
    /// the request to the target or to another thread, the connection ends in `patience` unless the
    /// command did before; the keys end with it.
    func giveUp(channel: UInt32, tag: UInt32, isRead: Bool, now: Ticks) -> Bool {
        for slot in 0..<UInt32(operations.count) where slots.isTaken(slot) {
            let operation = operations[Int(slot)]
            if operation.channel != channel || operation.tag != tag { continue }
            if case .own(let connection) = link, connection.revokeRead(token: UInt64(slot)) {
                slots.giveBack(slot)
                return true
            }
            if (isRead || isReached) && !operation.isStalled { stall(slot, now) }
            return false
        }
        return false
    }

    /// Whether the target reads the memory of writes.
    private var isReached: Bool {
        switch link {
        case .none: false
        case .own(let connection): connection.isReached
        case .shared(let client): client.isReached
        }
    }

    private func stall(_ slot: UInt32, _ now: Ticks) {
        operations[Int(slot)].isStalled = true
        if stalled == 0 { stallEnd = now.advanced(by: IOQueue.patience) }
        stalled &+= 1
    }

    /// When the queue is to be turned, whatever happens.
    var wakeTime: Ticks? {
        let look = outstanding > 0 ? timer.wakeTime : nil
        if stalled == 0 { return look }
        return min(look ?? stallEnd, stallEnd)
    }

    private func endStalled(now: Ticks) {
        if stalled == 0 || now < stallEnd { return }
        // What ends slowly is not told again and again.
        stallEnd = now.advanced(by: IOQueue.patience)
        endLink(.stalled)
    }

    private func endLink(_ fault: ConnectionFault) {
        switch link {
        case .none: break
        case .own(let connection): connection.end(fault)
        case .shared(let client): client.stall()
        }
    }

    /// Has the target abort what it takes too long for, or ends the connection.
    private func endLate(now: Ticks) {
        if outstanding == 0 || !timer.isDue(now: now) { return }
        for slot in 0..<UInt32(operations.count) where slots.isTaken(slot) {
            let operation = operations[Int(slot)]
            if !operation.isUnderWay { continue }
            if !timer.isOver(since: operation.startedAt, now: now) { continue }
            if operation.isAborting || !abort(slot, now) { return endLink(.late) }
        }
    }

    /// - Returns: false when the target cannot be asked.
    private func abort(_ slot: UInt32, _ now: Ticks) -> Bool {
        guard timer.aborts, case .own(let connection) = link,
            let identifier = connection.identifier(token: UInt64(slot))
        else { return false }
        // While many are asked for, it has its turn at a later look.
        if berth.abort(identifier, of: connection.number) {
            operations[Int(slot)].isAborting = true
            operations[Int(slot)].startedAt = now
        }
        return true
    }

    func flush() {
        switch link {
        case .none: break
        case .own(let connection): connection.push()
        case .shared(let client): client.flush()
        }
        berth.outstanding = outstanding
    }

    private var outstanding: Int {
        switch link {
        case .none: 0
        case .own(let connection): connection.outstanding
        case .shared(let client): client.outstanding
        }
    }

    /// Sends, receives and hands out completions: once in a turn, whoever asks.
    func turn(now: Ticks) {
        if !berth.mailbox.isEmpty { berth.mailbox.drain(self) }
        if now == lastTurn { return }
        lastTurn = now
        endStalled(now: now)
        switch link {
        case .none: return
        case .own(let connection):
            connection.push()
            connection.pull()
            while let completion = connection.nextCompletion() {
                append(UInt32(completion.token), .status(completion.status))
            }
            // Grants that came are answered in the same turn.
            connection.push()
            count(connection)
        case .shared(let client):
            takeAnswers(of: client)
        }
        endLate(now: now)
        release(isRevoked: false)
        succeed()
        berth.outstanding = outstanding
    }

    private func count(_ connection: TransportQueue) {
        let total = connection.work
        let done = total - counted
        // A turn that found nothing is counted with one that does something.
        if done.isIdle { return }
        berth.counters.add(done)
        counted = total
    }

    private func takeAnswers(of client: SharedQueueClient) {
        while let answer = client.nextAnswer() {
            append(UInt32(answer.token), .status(answer.status))
        }
    }

    /// After the end of the connection: every command on it goes back to its channel.
    ///
    /// - Parameter isRevoked: the path's thread has ended it, and need not hear of that.
    private func release(isRevoked: Bool) {
        switch link {
        case .none: return
        case .own(let connection):
            guard case .ended(let fault) = connection.phase else { return }
            link = .none
            site.stopWaking(on: connection.descriptor)
            while let token = connection.nextLost() { append(UInt32(token), .lost) }
            if !isRevoked { berth.ended(connection.number, fault) }
        case .shared(let client):
            guard let fault = client.endedBy else { return }
            link = .none
            takeAnswers(of: client)
            while let token = client.nextLost() { append(UInt32(token), .lost) }
            if !isRevoked { berth.ended(client.number, fault) }
        }
    }

    /// Whether polling is useful without an event; asked before a sleep.
    func isHeldUp() -> Bool {
        switch link {
        case .none: !berth.mailbox.isEmpty
        case .own(let connection): connection.isHeldUp()
        case .shared(let client): client.endedBy != nil
        }
    }
}

/// The queues of one reactor, by path. A path that has closed is forgotten when the next one is
/// looked up.
final class SiteQueues {
    private var queues: [(path: RemotePath, queue: IOQueue)] = []

    static func queue(
        of path: RemotePath, at site: ChannelSite
    ) throws(SystemError) -> IOQueue {
        let all = site.resource(SiteQueues.self) { SiteQueues() }
        all.queues.removeAll { $0.path.isClosed }
        if let found = all.queues.first(where: { $0.path === path }) { return found.queue }
        let made = IOQueue(
            try path.makeBerth(), depth: path.options.queueEntries, path.options.commandTimeout,
            at: site)
        all.queues.append((path, made))
        return made
    }
}
