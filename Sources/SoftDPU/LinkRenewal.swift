internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import Synchronization

/// Keeps a service's link to its software DPU: when one ends, connects again for ever, and takes up
/// the leases that the service had.
final class LinkRenewal: Sendable {
    /// How long a refused lease is asked for again.
    private static let refusalLimit = Duration.seconds(2)
    /// Between two attempts: grows from the first to the last.
    private static let pauses = (first: Duration.milliseconds(10), last: Duration.seconds(1))

    private struct State {
        /// Nil while there is none that can be used.
        var link: ControlLink?
        var holder: UInt64?
        /// Of the RDMA data path, as the latest greeting gave it.
        var relay: RelayPlace?
        /// In the order in which they were opened: a PF before its VFs.
        var ports: [any RemotePort] = []
        /// Of the latest link, and whether that one has ended.
        var number = 0
        var hasEnded = false
        var isRenewing = false
        var isClosed = false
    }

    private let state = Mutex(State())
    private let place: DPUPlace?
    private let hello: JSONObject
    private let lifeline: SharedDescriptor
    private let onEnd: @Sendable (String) -> Void
    private let log: Logger?

    /// - Parameters:
    ///   - place: where the DPU answers; nil for a link that is not renewed.
    ///   - lifeline: stays open for as long as the service lives; its other end is given away.
    init(
        _ hello: JSONObject, lifeline: SharedDescriptor, place: DPUPlace?, log: Logger?,
        onEnd: @escaping @Sendable (String) -> Void
    ) {
        self.hello = hello
        self.lifeline = lifeline
        self.place = place
        self.log = log
        self.onEnd = onEnd
    }

    /// The present link; one that has ended refuses every call.
    var link: ControlLink {
        get throws(HardwareError) {
            guard let link = state.withLock({ $0.link }) else { throw ControlLink.gone }
            return link
        }
    }

    /// Greets the DPU over `connection`, as the holder that it was before.
    /// - Returns: what the DPU says of itself.
    func start(over connection: ControlConnection) async throws(HardwareError) -> JSONValue {
        let (link, result) = try await greet(over: connection)
        state.withLock { $0.link = link }
        return result
    }

    private func greet(
        over connection: ControlConnection
    ) async throws(HardwareError) -> (ControlLink, JSONValue) {
        let (number, holder) = state.withLock { state in
            state.number += 1
            state.hasEnded = false
            return (state.number, state.holder)
        }
        let link: ControlLink
        do {
            link = try ControlLink(connection.wire, isRenewed: place != nil) { [weak self] reason in
                self?.ended(number, reason)
            }
        } catch { throw HardwareError(error.code, "control link: \(error)") }
        var hello = hello
        if let holder { hello.append("holder", JSONValue(holder)) }
        let answer = try await link.call(
            "hello", hello, descriptors: link.isRemote ? [] : [lifeline])
        let result = answer.body["result"] ?? .null
        state.withLock { state in
            state.holder = result.unsigned("holder")
            state.relay = RelayPlace(greeting: result)
        }
        return (link, result)
    }

    var relay: RelayPlace? { state.withLock { $0.relay } }

    func add(_ port: any RemotePort) {
        state.withLock { state in
            state.ports.removeAll { $0.attachment.isEnded }
            state.ports.append(port)
        }
    }

    /// The service lets go of its manager: nothing is renewed any more.
    func close() { state.withLock { $0.isClosed = true } }

    // --- again ---

    private func ended(_ number: Int, _ reason: String) {
        let isNews = state.withLock { state in
            if number != state.number || state.isClosed { return false }
            state.hasEnded = true
            state.link = nil
            if place == nil { return true }
            defer { state.isRenewing = true }
            return !state.isRenewing
        }
        if !isNews { return }
        onEnd(reason)
        if place == nil { return }
        let reference = Reference(renewal: self)
        Task { await Self.renew(reference) }
    }

    /// Ends with the manager, which nobody else keeps.
    private struct Reference: Sendable {
        weak let renewal: LinkRenewal?
    }

    private static func renew(_ reference: Reference) async {
        var pause = pauses.first
        while true {
            do {
                guard let renewal = reference.renewal, !renewal.state.withLock({ $0.isClosed })
                else { return }
                if await renewal.attempt() { return }
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, pauses.last)
        }
    }

    /// - Returns: whether the link is there again.
    private func attempt() async -> Bool {
        var made: ControlLink?
        do throws(HardwareError) {
            guard let place else { return true }
            let start = Clock.monotonicNanoseconds()
            let (link, _) = try await greet(over: try await place.connect())
            made = link
            let ports = state.withLock { $0.ports.filter { !$0.attachment.isEnded } }
            var refused: [any RemotePort] = []
            for port in ports where try await reopen(port, over: link) != nil {
                refused.append(port)
            }
            _ = try await link.call("settled")
            let isThere = state.withLock { state in
                if state.hasEnded { return false }
                state.link = link
                state.isRenewing = false
                return true
            }
            guard isThere else { return false }
            if !refused.isEmpty { Task { await Self.insist(refused, self, over: link) } }
            let time = (Clock.monotonicNanoseconds() - start) / 1000
            log?.notice("event=dpu_link_renewed leases=\(ports.count) us=\(time)")
            return true
        } catch {
            made?.close()
            return false
        }
    }

    /// Takes up what was refused as soon as it can be had: a VF waits for its PF, which may be
    /// another service's and not there yet. What is refused for too long is lost.
    private static func insist(
        _ ports: [any RemotePort], _ renewal: LinkRenewal, over link: ControlLink
    ) async {
        let end = ContinuousClock.now + refusalLimit
        var left = ports
        while true {
            var refused: [(port: any RemotePort, reason: String)] = []
            for port in left where !port.attachment.isEnded {
                do throws(HardwareError) {
                    if let reason = try await renewal.reopen(port, over: link) {
                        refused.append((port, reason))
                    }
                } catch {
                    // The next link tries all of them again.
                    return
                }
            }
            if refused.isEmpty { return }
            if ContinuousClock.now > end {
                for (port, reason) in refused {
                    port.attachment.refused(reason)
                    port.end(successor: nil)
                }
                return
            }
            left = refused.map(\.port)
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Takes up a lease. The end of the link ends the attempt.
    /// - Returns: why it was refused; nil when it was not.
    private func reopen(
        _ port: any RemotePort, over link: ControlLink
    ) async throws(HardwareError) -> String? {
        do throws(HardwareError) {
            var body = port.attachment.offer
            body.append("vuid", .string(port.identity.vuid))
            body.append("lease", JSONValue(port.lease))
            let answer = try await link.call("open", body)
            guard let holder = state.withLock({ $0.holder }),
                let facts = LeaseFacts(answer, holder: holder)
            else { throw HardwareError(ErrorNumber.invalid, "the software DPU gave no lease") }
            guard facts.memoryName == port.facts.memoryName else {
                _ = try await link.call("close", ["lease": JSONValue(facts.lease)])
                throw HardwareError(
                    ErrorNumber.invalid,
                    "the software DPU has lost the function's memory, and its host; destroy the "
                        + "controller and create it again")
            }
            port.regained(facts, over: link)
            link.register(port, lease: facts.lease)
            return nil
        } catch {
            if error == ControlLink.gone { throw error }
            return error.reason
        }
    }
}

extension LeaseFacts {
    /// What an answer to "open" gives; nil when it gives no lease.
    init?(_ answer: ControlMessage, holder: UInt64) {
        let result = answer.body["result"] ?? .null
        guard let lease = result.unsigned("lease"), let (memory, name) = Self.memory(answer),
            let listing = result["function"].flatMap(ControlCoding.listing)
        else { return nil }
        self.init(
            identity: listing.identity, lease: lease, holder: holder,
            predecessors: (result["predecessors"]?.array ?? []).compactMap(\.unsigned),
            functionMemory: memory, memoryName: name, hostSocketPath: listing.hostSocketPath ?? "",
            isStandby: result.flag("standby"))
    }

    /// The function's memory; for who cannot have it, a file of the same shape, in which nothing
    /// is kept.
    private static func memory(_ answer: ControlMessage) -> (SharedDescriptor, name: String)? {
        if let file = answer.descriptors.first {
            return (try? file.fileName()).map { (file, $0) }
        }
        guard let shape = answer.body["result"]?["function_memory"], let name = shape.text("name")
        else { return nil }
        if let bytes = shape.unsigned("bytes") {
            guard (1...NVMeStandIn.byteLimit).contains(bytes),
                let file = try? MemoryFile.create(name: "nvme", byteCount: bytes)
            else { return nil }
            return (SharedDescriptor(file), name)
        }
        guard let queues = shape.int("queues"), (1...65535).contains(queues),
            let size = shape.int("size"), (1...32768).contains(size),
            let file = try? FunctionMemory.create(queueCount: queues, queueSize: size)
        else { return nil }
        return (file, name)
    }
}

extension RelayPlace {
    /// Nil for a greeting that names none.
    fileprivate init?(greeting: JSONValue) {
        guard let address = greeting.text("relay_address"),
            let port = greeting.unsigned("relay_port").flatMap(UInt16.init(exactly:)),
            let holder = greeting.unsigned("holder")
        else { return nil }
        self.init(address: address, port: port, holder: holder)
    }
}
