import Memory
import Platform
import Synchronization

/// The simulated target behind real sockets, on 127.0.0.1 and a thread of its own.
final class TargetServer: @unchecked Sendable {
    // Sendable: everything that changes does so under the storage's lock, or on the thread alone.

    /// A connection of the server's thread.
    private final class Session {
        let socket: SharedDescriptor
        let connection: TargetConnection
        init(_ socket: SharedDescriptor, _ connection: TargetConnection) {
            self.socket = socket
            self.connection = connection
        }
    }

    let port: UInt16
    private let disk: TargetDisk
    /// The thread's.
    private var listener: SharedDescriptor?
    private var isStopping = false
    private var isSilent = false
    /// Whether the present turn of the thread answers nothing.
    private var isTurnSilent = false
    private var hasEnded = false

    /// - Parameters:
    ///   - disk: to serve the same one as another server.
    ///   - port: 0 takes a free one.
    init(_ disk: TargetDisk, port: UInt16 = 0) throws {
        let listener = try TCPSocket.listen(at: "127.0.0.1", port: port)
        self.port = try TCPSocket.port(of: listener.number)
        self.disk = disk
        self.listener = SharedDescriptor(listener)
        _ = try Thread(name: "target") { [self] in serve() }
    }

    convenience init(_ behaviour: TargetBehaviour = TargetBehaviour()) throws {
        try self.init(TargetDisk(behaviour))
    }

    /// Another path to the disk of `other`.
    convenience init(beside other: TargetServer, _ behaviour: TargetBehaviour) throws {
        try self.init(TargetDisk(behaviour, other.disk.storage))
    }

    /// Closes everything at once, as a killed target does, and returns when that is done.
    func stop() {
        stopSoon()
        while disk.storage.lock.withLock({ _ in !hasEnded }) { Clock.sleep(nanoseconds: 1_000_000) }
    }

    /// The same without the wait.
    func stopSoon() { disk.storage.lock.withLock { _ in isStopping = true } }

    /// Answers nothing from now on, or goes on; connections stay.
    func setSilent(_ silent: Bool) {
        disk.storage.lock.withLock { _ in isSilent = silent }
        while disk.storage.lock.withLock({ _ in isTurnSilent != silent && !hasEnded }) {
            Clock.sleep(nanoseconds: 100_000)
        }
    }

    func withDisk<Result>(_ body: (TargetDisk) -> Result) -> Result {
        disk.storage.lock.withLock { _ in body(disk) }
    }

    private func serve() {
        var sessions: [Session] = []
        var pause: UInt64 = 0
        while true {
            let (stops, silent) = disk.storage.lock.withLock { _ in
                isTurnSilent = isSilent
                return (isStopping, isSilent)
            }
            if stops { break }
            var isBusy = false
            if let listener, let socket = try? UnixSocket.accept(listener.number) {
                sessions.append(Session(SharedDescriptor(socket), TargetConnection(disk)))
                isBusy = true
            }
            if !silent {
                sessions.removeAll { session in
                    switch turn(session) {
                    case .ended: return true
                    case .busy: isBusy = true
                    case .idle: break
                    }
                    return false
                }
            }
            pause = isBusy ? 0 : min(2 * pause + 50_000, 2_000_000)
            if pause > 0 { Clock.sleep(nanoseconds: pause) }
        }
        // First: who loses a connection may ask for the next one at once, and must be refused.
        listener = nil
        for session in sessions { UnixSocket.shutDown(session.socket.number) }
        sessions = []
        disk.storage.lock.withLock { _ in hasEnded = true }
    }

    private enum Turn {
        case busy, idle, ended
    }

    private func turn(_ session: Session) -> Turn {
        var result = Turn.idle
        do {
            let number = session.socket.number
            if let message = try UnixSocket.receive(upTo: 1 << 16, from: number) {
                if message.bytes.isEmpty { return .ended }
                disk.storage.lock.withLock { _ in session.connection.feed(message.bytes) }
                result = .busy
            }
            let output = disk.storage.lock.withLock { _ in
                session.connection.announce()
                return session.connection.output
            }
            if !output.isEmpty, let sent = try UnixSocket.send(output[...], to: number) {
                disk.storage.lock.withLock { _ in _ = session.connection.take(sent) }
                result = .busy
            }
        } catch { return .ended }
        return session.connection.isBroken ? .ended : result
    }
}
