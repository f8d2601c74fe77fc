internal import Hardware
internal import JSONRPC
internal import Platform
internal import Synchronization

/// A service's end of the link to its software DPU: calls with answers, and the events of its
/// leases.
final class ControlLink: Sendable {
    typealias Answer = Result<ControlMessage, HardwareError>

    private struct State {
        var nextID: UInt64 = 1
        var waiting: [UInt64: CheckedContinuation<Answer, Never>] = [:]
        var ports: [UInt64: any RemoteLease] = [:]
        /// What came for leases whose port is about to be registered.
        var early: [UInt64: Early] = [:]
        var endReason: String?
    }

    private struct Early {
        var state: FunctionState?
        var isOver = false
        var successor: String?
    }

    private let wire: any ControlWire
    private let state = Mutex(State())
    private let sending = Mutex(())
    private let thread = Mutex<Thread?>(nil)
    /// Called once when the link is over, with the reason.
    private let onEnd: @Sendable (String) -> Void
    /// Whether its leases go on over another link.
    private let isRenewed: Bool

    init(
        _ wire: any ControlWire, isRenewed: Bool = false,
        onEnd: @escaping @Sendable (String) -> Void
    ) throws(SystemError) {
        self.wire = wire
        self.isRenewed = isRenewed
        self.onEnd = onEnd
        let reader = try Thread(name: "dpu_link") { [self] in read() }
        thread.withLock { $0 = reader }
    }

    /// Asks the DPU and waits for its answer.
    func call(
        _ name: String, _ members: JSONObject = [:], descriptors: [SharedDescriptor] = []
    ) async throws(HardwareError) -> ControlMessage {
        let answer = await withCheckedContinuation {
            (continuation: CheckedContinuation<Answer, Never>) in
            let id: UInt64? = state.withLock { state in
                if state.endReason != nil { return nil }
                let id = state.nextID
                state.nextID += 1
                state.waiting[id] = continuation
                return id
            }
            guard let id else { return continuation.resume(returning: .failure(Self.gone)) }
            var body = members
            body.append("call", .string(name))
            body.append("id", JSONValue(id))
            send(.object(body), descriptors)
        }
        return try answer.get()
    }

    /// Tells the DPU something that has no answer.
    func notify(_ name: String, _ members: JSONObject) {
        var body = members
        body.append("call", .string(name))
        send(.object(body))
    }

    func register(_ port: any RemoteLease, lease: UInt64) {
        let early = state.withLock { state in
            let early = state.early.removeValue(forKey: lease)
            if early?.isOver != true { state.ports[lease] = port }
            return early
        }
        guard let early else { return }
        if let state = early.state { port.take(state) }
        if early.isOver { port.end(successor: early.successor) }
    }

    func forget(lease: UInt64) {
        let port = state.withLock { $0.ports.removeValue(forKey: lease) }
        port?.end(successor: nil)
    }

    static let gone = HardwareError(
        ErrorNumber.noDevice,
        "the software DPU does not answer; start it again with `softdpu run`, and this service "
            + "attaches by itself")

    private static let unproven = HardwareError(
        ErrorNumber.accessDenied,
        "the software DPU ended the link before it answered; do both ends have the same secret, "
            + "softdpu's --secret-file and the service's --dpu-secret-file?")

    /// Ends the link.
    func close() { UnixSocket.shutDown(wire.number) }

    /// Whether the other end has no descriptors to give.
    var isRemote: Bool { !wire.carriesDescriptors }

    private func send(_ body: JSONValue, _ descriptors: [SharedDescriptor] = []) {
        let message = ControlMessage(body, descriptors: descriptors)
        sending.withLock { _ in
            // What the link's end leaves unsaid nobody asks for: the reader hears of it too.
            do throws(ControlLinkError) {
                while try !wire.send(message) { waitForRoom() }
                while wire.hasUnsent {
                    waitForRoom()
                    try wire.flush()
                }
            } catch {}
        }
    }

    private func waitForRoom() {
        _ = UnixSocket.waitWritable(wire.number, milliseconds: 1000)
    }

    // --- the reader's thread ---

    private func read() {
        // Descriptors that the DPU has introduced and not yet taken back.
        var files: [UInt64: SharedDescriptor] = [:]
        while true {
            do throws(ControlLinkError) {
                guard let message = try wire.receive() else {
                    _ = UnixSocket.waitReadable(wire.number, milliseconds: -1)
                    continue
                }
                take(message, &files)
            } catch {
                switch error {
                case .closed: return end("closed by the software DPU")
                case .broken(let reason): return end(reason)
                }
            }
        }
    }

    private func take(_ message: ControlMessage, _ files: inout [UInt64: SharedDescriptor]) {
        if let id = message.body.unsigned("id") {
            let waiting = state.withLock { $0.waiting.removeValue(forKey: id) }
            waiting?.resume(returning: Self.answer(message))
            return
        }
        switch message.body.text("event") {
        case "file":
            if let number = message.body.unsigned("file"), let file = message.descriptors.first {
                files[number] = file
            }
        case "state":
            guard let lease = message.body.unsigned("lease"),
                let new = ControlCoding.state(message.body, files: files)
            else { return }
            deliver(new, lease: lease)
            drop(message, &files)
        case "drop": drop(message, &files)
        case "lease_over":
            if let lease = message.body.unsigned("lease") {
                end(lease: lease, successor: message.body.text("to"))
            }
        default: break
        }
    }

    private func drop(_ message: ControlMessage, _ files: inout [UInt64: SharedDescriptor]) {
        for number in message.body["drop"]?.array ?? [] {
            if let number = number.unsigned { files[number] = nil }
        }
    }

    // What is said of a lease may overtake the registration of its port by a moment.

    private func deliver(_ new: FunctionState, lease: UInt64) {
        let port = state.withLock { state in
            if state.ports[lease] == nil { state.early[lease, default: Early()].state = new }
            return state.ports[lease]
        }
        port?.take(new)
    }

    private func end(lease: UInt64, successor: String?) {
        let port = state.withLock { state in
            let port = state.ports.removeValue(forKey: lease)
            if port == nil {
                state.early[lease, default: Early()].isOver = true
                state.early[lease]?.successor = successor
            }
            return port
        }
        port?.end(successor: successor)
    }

    private static func answer(_ message: ControlMessage) -> Answer {
        guard let error = message.body["error"] else { return .success(message) }
        let code = error["code"]?.signed.flatMap { Int32(exactly: $0) } ?? ErrorNumber.invalid
        return .failure(HardwareError(code, error.text("reason") ?? "refused"))
    }

    private func end(_ reason: String) {
        let (waiting, ports) = state.withLock { state in
            state.endReason = reason
            defer {
                state.waiting = [:]
                state.ports = [:]
            }
            return (Array(state.waiting.values), Array(state.ports.values))
        }
        let error = wire.isProven ? Self.gone : Self.unproven
        for continuation in waiting { continuation.resume(returning: .failure(error)) }
        for port in ports { if isRenewed { port.lost() } else { port.end(successor: nil) } }
        onEnd(reason)
    }
}
