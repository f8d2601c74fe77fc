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

    init(pathBell: SharedDescriptor) throws(SystemError) {
        bell = try EventDescriptor.create()
        self.pathBell = pathBell
    }

    var bellNumber: Int32 { bell.number }

    /// Gives the reactor a connection that is ready for commands.
    func give(_ connection: TCPConnection) {
        connection.number = present.add(1, ordering: .relaxed).newValue
        mailbox.post { $0.adopt(connection) }
        ring()
    }

    /// Has the reactor look at what has changed.
    func ring() { EventDescriptor.signal(bell.number) }

    /// Called by the reactor when a connection ends.
    func ended(_ number: UInt64, _ reason: ConnectionFault) {
        ending.store(number << 8 | UInt64(reason.rawValue), ordering: .releasing)
        EventDescriptor.signal(pathBell.number)
    }

    /// Called by the path's thread: why the last connection that it gave ended; nil while it lives.
    var endedBy: ConnectionFault? {
        let ending = ending.load(ordering: .acquiring)
        guard ending >> 8 == present.load(ordering: .relaxed) else { return nil }
        return ConnectionFault(rawValue: UInt8(truncatingIfNeeded: ending))
    }
}
