import Memory
import Platform
import Synchronization

/// The simulated target behind real sockets, on 127.0.0.1 and a thread of its own.
final class TargetServer: @unchecked Sendable {
    // Sendable: everything that changes does so under `lock`.

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
    private let lock = Mutex(())
    private var isStopping = false
    private var isSilent = false
    private var hasEnded = false

    /// - Parameters:
    ///   - disk: to serve the same one as another server.
    ///   - port: 0 takes a free one.
    init(_ disk: TargetDisk, port: UInt16 = 0) throws {
        let listener = try TCPSocket.listen(at: "127.0.0.1", port: port)
        self.port = try TCPSocket.port(of: listener.number)
        self.disk = disk
        let shared = SharedDescriptor(listener)
        _ = try Thread(name: "target") { [self] in serve(shared) }
    }

    convenience init(_ behaviour: TargetBehaviour = TargetBehaviour()) throws {
        try self.init(TargetDisk(behaviour))
    }

    /// Closes everything at once, as a killed target does, and returns when that is done.
    func stop() {
        lock.withLock { _ in isStopping = true }
        while lock.withLock({ _ in !hasEnded }) { Clock.sleep(nanoseconds: 1_000_000) }
    }

    /// Answers nothing from now on, or goes on; connections stay.
    func setSilent(_ silent: Bool) { lock.withLock { _ in isSilent = silent } }

    func withDisk<Result>(_ body: (TargetDisk) -> Result) -> Result {
        lock.withLock { _ in body(disk) }
    }

    private func serve(_ listener: SharedDescriptor) {
        var sessions: [Session] = []
        while true {
            let (stops, silent) = lock.withLock { _ in (isStopping, isSilent) }
            if stops { break }
            var isBusy = false
            if let socket = try? UnixSocket.accept(listener.number) {
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
            if !isBusy { Clock.sleep(nanoseconds: 100_000) }
        }
        for session in sessions { UnixSocket.shutDown(session.socket.number) }
        sessions = []
        lock.withLock { _ in hasEnded = true }
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
                lock.withLock { _ in session.connection.feed(message.bytes) }
                result = .busy
            }
            let output = lock.withLock { _ in session.connection.output }
            if !output.isEmpty, let sent = try UnixSocket.send(output[...], to: number) {
                lock.withLock { _ in _ = session.connection.take(sent) }
                result = .busy
            }
        } catch { return .ended }
        return session.connection.isBroken ? .ended : result
    }
}
