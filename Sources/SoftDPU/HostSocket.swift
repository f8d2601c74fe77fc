internal import Hardware
internal import Logging
internal import Platform

/// What a read of a host's socket found.
enum HostRead {
    case message
    /// Nothing complete yet.
    case incomplete
    case closed
}

/// A conversation that gets no further: why the connection ends.
struct HostReadError: Error {
    let reason: String
}

/// Who talks to the hosts of one function, in whichever protocol.
protocol HostConversation: AnyObject {
    /// Why no host may connect now; nil when one may.
    var closedReason: String? { get }
    /// A host has connected on `socket`, which it has until `hostLeft`.
    func hostConnected(on socket: SharedDescriptor)
    /// Takes one message and acts on it.
    func takeMessage() throws(HostReadError) -> HostRead
    func hostLeft()
}

/// Where one function meets its hosts: a stream socket, one host at a time, any number of them over
/// the life of the function.
final class HostSocket {
    /// Messages taken from one host before others have their turn.
    private static let turnLimit = 32

    let path: String
    private let vuid: String
    private unowned let core: DPUCore
    private unowned let conversation: any HostConversation
    private let listener: SharedDescriptor
    private var listenerToken: UInt64 = 0
    private var connection: Connection?
    private var connections = LogThrottle()
    private var refusals = LogThrottle()

    private struct Connection {
        let socket: SharedDescriptor
        let token: UInt64
        /// An answer is due: nothing more is read meanwhile.
        var isPaused = false
    }

    init(
        _ vuid: String, ending: String = "sock", core: DPUCore,
        conversation: any HostConversation
    ) throws(HardwareError) {
        self.vuid = vuid
        self.core = core
        self.conversation = conversation
        path = core.inventory.hostDirectory + "/\(vuid).\(ending)"
        do {
            if FileSystem.exists(path) { try FileSystem.remove(path) }
            listener = SharedDescriptor(try UnixSocket.listen(at: path, .stream))
            try FileSystem.setMode(path, core.inventory.hostSocketMode)
            if let owner = core.inventory.hostSocketOwner {
                try FileSystem.setOwner(path, user: owner.user, group: owner.group)
            }
            listenerToken = try core.context.add(listener.number) { [unowned self] in accept() }
        } catch { throw HardwareError(error.code, "host socket \(path): \(error)") }
    }

    var isConnected: Bool { connection != nil }

    func close() {
        if let connection {
            core.context.remove(connection.socket.number, token: connection.token)
        }
        core.context.remove(listener.number, token: listenerToken)
        try? FileSystem.remove(path)
    }

    private func accept() {
        while let accepted = try? UnixSocket.accept(listener.number) {
            let socket = SharedDescriptor(accepted)
            let closedReason = conversation.closedReason
            guard connection == nil, closedReason == nil else {
                if refusals.permits() {
                    let reason = closedReason ?? "busy"
                    let count = refusals.count
                    core.log.warning(
                        "event=host_refused function=\(vuid) count=\(count) reason=\(reason)")
                }
                continue
            }
            do {
                let token = try core.context.add(socket.number) { [unowned self] in read() }
                connection = Connection(socket: socket, token: token)
                conversation.hostConnected(on: socket)
                core.hostConnected(vuid)
                if connections.permits() {
                    core.log.notice(
                        "event=host_connected function=\(vuid) count=\(connections.count)")
                }
            } catch { core.log.error("event=host_refused function=\(vuid) error=\"\(error)\"") }
        }
    }

    /// Takes every complete message, until one has to wait.
    private func read() {
        if let connection, connection.isPaused {
            // Nothing is read meanwhile, but a host that leaves is not waited for.
            if UnixSocket.hasHungUp(connection.socket.number) {
                disconnect(reason: "closed while an answer was due")
            }
            return
        }
        var budget = Self.turnLimit
        while let connection, !connection.isPaused, budget > 0 {
            budget -= 1
            do throws(HostReadError) {
                switch try conversation.takeMessage() {
                case .incomplete: return
                case .closed: return disconnect(reason: "closed by the front end")
                case .message: continue
                }
            } catch { disconnect(reason: error.reason) }
        }
    }

    /// Reads nothing until `resume`: an answer is due.
    func pause() {
        guard let connection else { return }
        self.connection?.isPaused = true
        core.context.pause(connection.socket.number, token: connection.token)
    }

    /// Reads again.
    func resume() {
        guard let connection, connection.isPaused else { return }
        self.connection?.isPaused = false
        core.context.change(connection.socket.number, .readable, token: connection.token)
        read()
    }

    func send(_ bytes: [UInt8], descriptors: [SharedDescriptor]) {
        guard let connection else { return }
        let sent = try? UnixSocket.send(
            bytes[...], descriptors: descriptors.map(\.number), to: connection.socket.number)
        // Answers are short and front ends wait for them: a full socket is one nobody reads.
        if sent != bytes.count { disconnect(reason: "does not read its answers") }
    }

    func disconnect(reason: String) {
        guard let connection else { return }
        core.context.remove(connection.socket.number, token: connection.token)
        self.connection = nil
        if connections.permitted {
            core.log.notice("event=host_disconnected function=\(vuid) reason=\"\(reason)\"")
        }
        conversation.hostLeft()
        core.hostLeft(vuid)
    }
}
