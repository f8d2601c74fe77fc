internal import Hardware
internal import JSONRPC
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
    /// - Parameter isPeeking: messages stay in the socket until `HostSocket.finish` takes them out.
    func hostConnected(on socket: SharedDescriptor, isPeeking: Bool)
    /// Looks for one message, acts on it and finishes it.
    func takeMessage() throws(HostReadError) -> HostRead
    func hostLeft()
}

/// Where one function meets its hosts: a stream socket, one host at a time, any number of them over
/// the life of the function.
final class HostSocket {
    /// Messages taken from one host before others have their turn.
    private static let turnLimit = 32

    let path: String
    private var vuid: String { function.vuid }
    private unowned let core: DPUCore
    private unowned let function: EmulatedFunction
    private unowned let conversation: any HostConversation
    private let listener: SharedDescriptor
    private var listenerToken: UInt64 = 0
    private var connection: Connection?
    private var connections = LogThrottle()
    private var refusals = LogThrottle()

    private struct Connection {
        let socket: SharedDescriptor
        let token: UInt64
        let interest: Epoll.Interest
        /// An answer is due: nothing more is read meanwhile.
        var isPaused = false
    }

    /// - Parameter kept: the listening socket, when another process has left it.
    init(
        _ function: EmulatedFunction, ending: String = "sock", core: DPUCore,
        conversation: any HostConversation, kept: SharedDescriptor? = nil
    ) throws(HardwareError) {
        self.function = function
        self.core = core
        self.conversation = conversation
        path = core.inventory.hostDirectory + "/\(function.vuid).\(ending)"
        do {
            if let kept {
                listener = kept
            } else {
                listener = try Self.listen(at: path, core.inventory)
            }
            listenerToken = try core.context.add(listener.number) { [unowned self] in accept() }
        } catch { throw HardwareError(error.code, "host socket \(path): \(error)") }
    }

    private static func listen(
        at path: String, _ inventory: Inventory
    ) throws(SystemError) -> SharedDescriptor {
        if FileSystem.exists(path) { try FileSystem.remove(path) }
        let listener = SharedDescriptor(try UnixSocket.listen(at: path, .stream))
        try FileSystem.setMode(path, inventory.hostSocketMode)
        if let owner = inventory.hostSocketOwner {
            try FileSystem.setOwner(path, user: owner.user, group: owner.group)
        }
        return listener
    }

    var isConnected: Bool { connection != nil }

    func close() {
        if let connection {
            core.context.remove(connection.socket.number, token: connection.token)
        }
        core.context.remove(listener.number, token: listenerToken)
        try? FileSystem.remove(path)
    }

    /// Takes new connections. One that is taken just before a kill, and not yet with the keeper, is
    /// lost: its host connects again.
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
                let isPeeking = try function.prepareForHost()
                try connect(socket, isPeeking: isPeeking)
                conversation.hostConnected(on: socket, isPeeking: isPeeking)
                core.hostConnected(vuid)
                function.commit()
                if connections.permits() {
                    core.log.notice(
                        "event=host_connected function=\(vuid) count=\(connections.count)")
                }
            } catch { core.log.error("event=host_refused function=\(vuid) error=\"\(error)\"") }
        }
    }

    private func connect(_ socket: SharedDescriptor, isPeeking: Bool) throws(SystemError) {
        // A message that is not whole yet stays where it is: only news counts.
        let interest = isPeeking ? Epoll.Interest.edge : .readable
        let token = try core.context.add(socket.number, interest) { [unowned self] in read() }
        connection = Connection(socket: socket, token: token, interest: interest)
    }

    /// Goes on with a connection that another process has left; its conversation knows of it.
    /// - Parameter isPaused: an answer is due.
    func adopt(_ socket: SharedDescriptor, isPaused: Bool) throws(HardwareError) {
        do {
            try connect(socket, isPeeking: true)
        } catch { throw HardwareError(error.code, "host socket \(path): \(error)") }
        core.hostConnected(vuid)
        if isPaused { pause() }
    }

    /// What is left of the last message, after `adopt`; then the messages that wait.
    func goOn(after byteCount: Int, _ answer: HostAnswer?) {
        complete(byteCount, answer)
        read()
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
                let found = try function.holdingNews { () throws(HostReadError) in
                    try conversation.takeMessage()
                }
                switch found {
                case .incomplete: return
                case .closed: return disconnect(reason: "closed by the front end")
                case .message: continue
                }
            } catch { disconnect(reason: error.reason) }
        }
        // More may wait, which an edge has told already.
        if let connection, !connection.isPaused {
            core.context.change(
                connection.socket.number, connection.interest, token: connection.token)
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
        core.context.change(
            connection.socket.number, connection.interest, token: connection.token)
        read()
    }

    /// A message has been carried out: records what it led to, takes it out of the socket and
    /// answers it. Without a keeper it has been taken out already.
    /// - Parameters:
    ///   - byteCount: of the message; 0 for an answer that was due.
    ///   - hasChanged: whether there is anything new to record.
    func finish(_ byteCount: Int, _ answer: HostAnswer?, hasChanged: Bool) {
        guard let connection else { return }
        guard let journal = function.journal else {
            if let answer { send(answer) }
            return
        }
        if answer == nil && !hasChanged {
            // Carried out twice it has the same effect: a doorbell.
            _ = try? UnixSocket.receive(upTo: byteCount, from: connection.socket.number)
            return
        }
        guard journal.begin(answer: answer?.bytes) else {
            return disconnect(reason: "its answer does not fit a pipe")
        }
        function.commit(message: byteCount, answer: answer, hasChanged: hasChanged)
        complete(byteCount, answer)
    }

    private func complete(_ byteCount: Int, _ answer: HostAnswer?) {
        guard let connection, let journal = function.journal else { return }
        let socket = connection.socket.number
        guard journal.take(byteCount, from: socket) else {
            return disconnect(reason: "its message cannot be taken")
        }
        if !journal.give(answer, to: socket) { disconnect(reason: "does not read its answers") }
    }

    private func send(_ answer: HostAnswer) {
        guard let connection else { return }
        let sent = try? UnixSocket.send(
            answer.bytes[...], descriptors: answer.files.map(\.number),
            to: connection.socket.number)
        // Answers are short and front ends wait for them: a full socket is one nobody reads.
        if sent != answer.bytes.count { disconnect(reason: "does not read its answers") }
    }

    /// What a record has of it: the listening socket, and the host's.
    func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject {
        [
            "listener": JSONValue(number(listener)),
            "socket": connection.map { JSONValue(number($0.socket)) } ?? .null,
        ]
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
        function.commit()
    }
}
