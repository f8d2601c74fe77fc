internal import Hardware
internal import Logging
internal import Platform
internal import VhostUser

/// Where one function meets its host: a vhost-user socket, one front end at a time, any number of
/// them over the life of the function.
final class HostPort {
    /// Messages taken from one front end before others have their turn.
    private static let turnLimit = 32

    let path: String
    private unowned let function: EmulatedFunction
    private unowned let core: DPUCore
    private let listener: SharedDescriptor
    private var listenerToken: UInt64 = 0
    private var connection: Connection?
    private var connections = LogThrottle()
    private var refusals = LogThrottle()
    private(set) var session: HostSession?

    /// One connected front end.
    private struct Connection {
        let socket: SharedDescriptor
        let token: UInt64
        var stream: VhostUserStream
        /// An answer that waits for the service; nothing more is read meanwhile.
        var pending: HostSession.Pending?
    }

    init(_ function: EmulatedFunction, core: DPUCore) throws(HardwareError) {
        self.function = function
        self.core = core
        path = core.inventory.hostDirectory + "/" + function.vuid + ".sock"
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
    private var name: String { function.vuid }

    func close() {
        if let connection {
            core.context.remove(connection.socket.number, token: connection.token)
        }
        core.context.remove(listener.number, token: listenerToken)
        try? FileSystem.remove(path)
    }

    // --- the front end ---

    private func accept() {
        while let accepted = try? UnixSocket.accept(listener.number) {
            let socket = SharedDescriptor(accepted)
            let closedReason = function.closedReason
            guard connection == nil, closedReason == nil, let offer = function.offer else {
                if refusals.permits() {
                    let reason = closedReason ?? "busy"
                    let count = refusals.count
                    core.log.warning(
                        "event=host_refused function=\(name) count=\(count) reason=\(reason)")
                }
                continue
            }
            do {
                let token = try core.context.add(socket.number) { [unowned self] in read() }
                connection = Connection(
                    socket: socket, token: token, stream: VhostUserStream(socket: socket.number))
                session = HostSession(offer: offer, after: function.startState())
                core.hostConnected(name)
                if connections.permits() {
                    core.log.notice(
                        "event=host_connected function=\(name) count=\(connections.count)")
                }
            } catch {
                core.log.error(
                    "event=host_refused function=\(name) error=\"\(error)\"")
            }
        }
    }

    /// Takes every complete message, until one has to wait.
    private func read() {
        if let connection, connection.pending != nil {
            // Nothing is read meanwhile, but a host that leaves is not waited for.
            if UnixSocket.hasHungUp(connection.socket.number) {
                disconnect(reason: "closed while an answer was due")
            }
            return
        }
        var budget = Self.turnLimit
        while connection != nil, connection?.pending == nil, budget > 0 {
            budget -= 1
            do throws(VhostUserError) {
                guard let event = try connection?.stream.next() else { return }
                switch event {
                case .incomplete: return
                case .closed: return disconnect(reason: "closed by the front end")
                case .message(let message): try take(message)
                }
            } catch { disconnect(reason: error.reason) }
        }
    }

    private func take(_ message: VhostUserMessage) throws(VhostUserError) {
        guard var current = session else { return }
        let before = current.state.generation
        let outcome: HostSession.Outcome
        do {
            outcome = try current.handle(message)
        } catch {
            if let refusal = current.refusal(of: message) { reply(refusal) }
            throw error
        }
        session = current
        if current.state.generation != before { function.publish() }
        switch outcome {
        case .nothing: break
        case .reply(let answer): reply(answer)
        case .wait(let pending):
            if function.mustWait {
                pause(for: pending)
            } else {
                session?.record(function.absentBases())
                if let answer = session?.finish(pending) { reply(answer) }
            }
        }
    }

    /// Reads nothing until the service has acknowledged.
    private func pause(for pending: HostSession.Pending) {
        guard let connection else { return }
        self.connection?.pending = pending
        core.context.pause(connection.socket.number, token: connection.token)
    }

    private func reply(_ message: VhostUserMessage) {
        guard let connection else { return }
        let bytes = message.encoded()
        let sent = try? UnixSocket.send(
            bytes[...], descriptors: message.descriptors.map(\.number),
            to: connection.socket.number)
        // Answers are short and front ends wait for them: a full socket is one nobody reads.
        if sent != bytes.count { disconnect(reason: "does not read its answers") }
    }

    func disconnect(reason: String) {
        guard let connection, let session else { return }
        core.context.remove(connection.socket.number, token: connection.token)
        self.connection = nil
        self.session = nil
        if connections.permitted {
            core.log.notice(
                "event=host_disconnected function=\(name) reason=\"\(reason)\"")
        }
        function.hostLeft(session)
    }

    // --- the service ---

    /// A service has carried out everything up to `generation`.
    func acknowledged(generation: UInt64, bases: [Int: UInt32]) {
        session?.record(bases)
        guard let connection, let pending = connection.pending,
            generation >= pending.generation
        else { return }
        self.connection?.pending = nil
        core.context.change(connection.socket.number, .readable, token: connection.token)
        if let answer = session?.finish(pending) { reply(answer) }
        read()
    }

    /// A new controller drives the function for the session that is there.
    func adopt(_ offer: VirtioOffer) { session?.update(offer: offer) }

    func configure(_ configuration: [UInt8]) {
        session?.update(configuration: configuration)
        guard let channel = session?.backendChannel else { return }
        let notice = VhostUserMessage(VhostUserBackendRequest.configurationChanged.rawValue)
        // A channel that nobody reads loses the notice, and nothing else.
        _ = try? UnixSocket.send(notice.encoded()[...], to: channel.number)
    }

    /// The device cannot go on until it is reset (Virtio 1.2 §2.1, DEVICE_NEEDS_RESET).
    func needsReset() {
        session?.markNeedsReset()
        if let configuration = session?.offer.configuration { configure(configuration) }
    }
}
