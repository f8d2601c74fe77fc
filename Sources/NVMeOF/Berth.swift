internal import Bounded
internal import Platform
internal import Synchronization

/// A reactor's place on a path: where the path's thread leaves connections for the reactor, and
/// hears of their end.
final class Berth: Sendable {
    /// Read by the reactor before it polls.
    let mailbox = Mailbox<IOQueue>()
    /// The kernel's id of the reactor's thread, which makes the berth.
    let threadID = Thread.currentID
    /// Wakes the reactor.
    private let bell: FileDescriptor
    /// Wakes the path's thread.
    private let pathBell: SharedDescriptor
    /// Counts the connections given.
    private let present = Atomic<UInt64>(0)
    /// The last connection that ended by itself, and its fault in bits 7:0; 0 for none.
    private let ending = Atomic<UInt64>(0)
    /// Of the connections that were its own.
    let counters = WorkCounters()
    private let underWay = Atomic<Int>(0)
    /// Commands that the target is asked to abort: the connection's number, and in bits 15:0 the
    /// command's identifier.
    private let aborts: HandoffQueue<UInt64>
    private let seat = Mutex(Seat())

    private struct Seat {
        /// Channels of the reactor use the berth, or the first one is about to.
        var isUsed = true
        /// While none does.
        var idle: TransportQueue?
    }

    /// - Parameter depth: commands at once.
    init(pathBell: SharedDescriptor, depth: Int) throws(SystemError) {
        aborts = HandoffQueue(capacity: depth)
        bell = try EventDescriptor.create()
        self.pathBell = pathBell
    }

    var bellNumber: Int32 { bell.number }

    /// Gives the reactor a connection that is ready for commands; one that no channel there uses
    /// now has it later.
    func give(_ connection: TransportQueue) {
        connection.number = present.add(1, ordering: .relaxed).newValue
        let isUsed = seat.withLock { seat in
            if !seat.isUsed { seat.idle = connection }
            return seat.isUsed
        }
        if !isUsed { return }
        mailbox.post { $0.adopt(.own(connection)) }
        ring()
    }

    /// Called by the reactor with its first channel: the connection that was given meanwhile, or
    /// given back. What the mailbox has may be older or newer.
    func enter() -> TransportQueue? {
        seat.withLock { seat in
            seat.isUsed = true
            defer { seat.idle = nil }
            return seat.idle
        }
    }

    /// Called by the reactor after its last channel, with the connection, when nothing is under
    /// way on that.
    func leave(_ idle: TransportQueue?) {
        seat.withLock { seat in
            seat.isUsed = false
            seat.idle = idle
        }
    }

    /// Called by the path's thread, which has ended all connections.
    func dropIdle() { seat.withLock { $0.idle = nil } }

    /// Gives the reactor a part of a queue instead.
    func give(_ client: SharedQueueClient) {
        client.number = present.add(1, ordering: .relaxed).newValue
        mailbox.post { $0.adopt(.shared(client)) }
        ring()
    }

    /// Has the reactor look at what has changed.
    func ring() { EventDescriptor.signal(bell.number) }

    /// Called by the reactor when a connection ends.
    func ended(_ number: UInt64, _ reason: ConnectionFault) {
        ending.store(number << 8 | UInt64(reason.rawValue), ordering: .releasing)
        EventDescriptor.signal(pathBell.number)
    }

    /// Called by the reactor, to have a command of its connection aborted.
    /// - Returns: false while too many wait for that.
    func abort(_ identifier: UInt16, of number: UInt64) -> Bool {
        if !aborts.give(number << 16 | UInt64(identifier)) { return false }
        EventDescriptor.signal(pathBell.number)
        return true
    }

    /// Called by the path's thread: the next command of the present connection to abort.
    func nextAbort() -> UInt16? {
        while let wanted = aborts.take() {
            if wanted >> 16 == present.load(ordering: .relaxed) {
                return UInt16(truncatingIfNeeded: wanted)
            }
        }
        return nil
    }

    /// Commands under way, as the reactor has left them after its last turn.
    var outstanding: Int {
        get { underWay.load(ordering: .acquiring) }
        set { underWay.store(newValue, ordering: .releasing) }
    }

    var isIdle: Bool { outstanding == 0 }

    /// Called by the path's thread: why the last connection that it gave ended; nil while it lives.
    var endedBy: ConnectionFault? {
        let ending = ending.load(ordering: .acquiring)
        guard ending >> 8 == present.load(ordering: .relaxed) else { return nil }
        return ConnectionFault(rawValue: UInt8(truncatingIfNeeded: ending))
    }
}
