internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import VhostUser

/// A virtio function as its host sees it: a vhost-user back end, or a whole PCI device, whose
/// features, configuration and negotiated state come from the last controller's offer. One host at
/// a time, in either way.
final class VirtioFace: HostFace, HostConversation {
    unowned let function: EmulatedFunction
    unowned let core: DPUCore
    var socket: HostSocket?
    var stream: VhostUserStream?
    var session: HostSession?
    /// An answer that waits for the service.
    var pending: HostSession.Pending?
    /// A message that waits for a service to take up what another one has left.
    private var held: VhostUserMessage?
    /// Whether the service that drives the function has taken it up.
    private var isTakenUp = false
    /// What the last controller offered; nil before there was one.
    var offer: VirtioOffer?
    var pci: VirtioPCIHost?
    var memory: SharedDescriptor?
    var memoryShape: (queueCount: Int, queueSize: Int) = (0, 0)
    /// State that the host's messages have led to, kept while no host is connected.
    var lastState = VirtioFunctionState(
        generation: 0, epoch: 0, driverFeatures: 0, memoryGeneration: 0, memory: [], queues: [],
        inflight: nil)

    init(_ function: EmulatedFunction, core: DPUCore) throws(HardwareError) {
        self.function = function
        self.core = core
        socket = try HostSocket(function, core: core, conversation: self)
        pci = try VirtioPCIHost(function, core: core, face: self, state: lastState)
    }

    /// A face that another process has left.
    init(
        _ function: EmulatedFunction, core: DPUCore, kept: JSONValue, files: RecordCoding.Files
    ) throws(HardwareError) {
        self.function = function
        self.core = core
        try restore(kept, files)
    }

    var hostSocketPath: String { socket?.path ?? "" }
    var isHostConnected: Bool { session != nil || isPCI }
    private var isPCI: Bool { pci?.isConnected ?? false }
    var generation: UInt64 { state.generation }
    var isDriverRunning: Bool { state.queues.contains(where: \.isRunning) }
    /// What the host has set up.
    var state: VirtioFunctionState {
        if isPCI, let pci { return pci.state }
        return session?.state ?? lastState
    }

    func shutDown() {
        socket?.close()
        pci?.shutDown()
    }

    // --- leases ---

    func check(_ wanted: FunctionOffer) throws(HardwareError) {
        guard case .virtio(let wanted) = wanted, isHostConnected, let offer else { return }
        let lost = state.driverFeatures & ~wanted.features
        if lost != 0 {
            throw mismatch("features", "lack 0x\(String(lost, radix: 16)), which it has negotiated")
        }
        if wanted.queueCount != offer.queueCount {
            throw mismatch("num_queues", "is \(wanted.queueCount), was \(offer.queueCount)")
        }
        if wanted.queueSize < offer.queueSize {
            throw mismatch("queue_size", "is \(wanted.queueSize), was \(offer.queueSize)")
        }
        // Capacity may change; what follows it (size_max, seg_max, blk_size …) may not.
        if wanted.configuration.dropFirst(8) != offer.configuration.dropFirst(8) {
            throw mismatch("size_max, seg_max, block size", "differ from what its driver has read")
        }
    }

    private func mismatch(_ field: String, _ text: String) -> HardwareError {
        HardwareError(
            ErrorNumber.invalid,
            "\(field): function \(function.vuid) has a host connected; the new controller's "
                + "\(field) \(text)")
    }

    func adopt(_ wanted: FunctionOffer) throws(HardwareError) -> [SharedDescriptor] {
        guard case .virtio(let wanted) = wanted else {
            throw HardwareError(
                ErrorNumber.invalid, "function \(function.vuid) is not a virtio-blk function")
        }
        let file = try functionMemory(for: wanted)
        let isFirst = offer == nil
        offer = wanted
        if isFirst || !isHostConnected {
            lastState = HostSession(offer: wanted, after: lastState).state
        }
        session?.update(offer: wanted)
        return [file]
    }

    private func functionMemory(
        for offer: VirtioOffer
    ) throws(HardwareError) -> SharedDescriptor {
        let fits =
            memoryShape.queueCount >= offer.queueCount && memoryShape.queueSize >= offer.queueSize
        if let memory, fits { return memory }
        do {
            let file = try FunctionMemory.create(
                queueCount: offer.queueCount, queueSize: offer.queueSize)
            memory = file
            memoryShape = (offer.queueCount, offer.queueSize)
            return file
        } catch { throw HardwareError(error.code, "function memory: \(error)") }
    }

    func files(
        forStandby wanted: FunctionOffer
    ) throws(HardwareError) -> [SharedDescriptor] {
        guard case .virtio(let wanted) = wanted, let memory,
            memoryShape.queueCount >= wanted.queueCount,
            memoryShape.queueSize >= wanted.queueSize
        else {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(function.vuid) is driven with \(memoryShape.queueCount) queues of "
                    + "\(memoryShape.queueSize) entries; a listener may have no more, so give its "
                    + "num_queues and queue_size")
        }
        return [memory]
    }

    func leaseEnded() {
        isTakenUp = false
        settle(.max, absentBases())
    }

    /// Where stopped queues would go on, read from their in-flight areas: nobody drives them.
    private func absentBases() -> [Int: UInt32] {
        guard !function.isDriven, let memory,
            let functionMemory = try? FunctionMemory(adopting: memory)
        else { return [:] }
        var bases: [Int: UInt32] = [:]
        // VIRTIO_F_RING_PACKED
        let isPacked = state.driverFeatures & 1 << 34 != 0
        for queue in state.queues where !queue.isRunning {
            let base =
                state.inflight?.loggedBase(queue: queue.index, isPacked: isPacked)
                ?? functionMemory.loggedBase(
                    queue: queue.index, run: queue.run, isPacked: isPacked)
            if let base { bases[queue.index] = base }
        }
        return bases
    }

    // --- the host ---

    var closedReason: String? {
        if let reason = function.closedReason { return reason }
        if offer == nil { return "no_controller" }
        return isHostConnected ? "busy" : nil
    }

    /// A state that nothing of an earlier host counts in.
    func freshState(_ offer: VirtioOffer) -> VirtioFunctionState {
        HostSession(offer: offer, after: state).state
    }

    /// The PCI host has gone, at `state`.
    func pciHostLeft(_ state: VirtioFunctionState) {
        if let offer { lastState = HostSession(offer: offer, after: state).state }
        function.publish()
    }

    func hostConnected(on socket: SharedDescriptor, isPeeking: Bool) {
        guard let offer else { return }
        stream = VhostUserStream(socket: socket.number, isPeeking: isPeeking)
        session = HostSession(offer: offer, after: lastState)
    }

    func takeMessage() throws(HostReadError) -> HostRead {
        do throws(VhostUserError) {
            if let held { return try takeOrHold(held) }
            switch try stream?.next() ?? .closed {
            case .incomplete: return .incomplete
            case .closed: return .closed
            case .message(let message): return try takeOrHold(message)
            }
        } catch { throw HostReadError(reason: error.reason) }
    }

    private func takeOrHold(_ message: VhostUserMessage) throws(VhostUserError) -> HostRead {
        let mustWait = !isTakenUp && session?.needsService(for: message) == true
        held = mustWait ? message : nil
        if mustWait {
            socket?.pause()
            return .incomplete
        }
        try take(message)
        return .message
    }

    private func take(_ message: VhostUserMessage) throws(VhostUserError) {
        guard var current = session else { return }
        let before = current.state.generation
        let outcome: HostSession.Outcome
        do {
            outcome = try current.handle(message)
        } catch {
            if let refusal = current.refusal(of: message) { finish(refusal) }
            throw error
        }
        session = current
        if current.state.generation != before { function.publish() }
        switch outcome {
        case .nothing: finish(nil)
        case .reply(let answer): finish(answer)
        case .wait(let pending):
            if function.isDriven {
                self.pending = pending
                finish(nil)
                socket?.pause()
            } else {
                let bases = absentBases()
                session?.record(bases)
                finish(session?.finish(pending))
            }
        }
    }

    /// The message that `stream` has given is done.
    private func finish(_ answer: VhostUserMessage?) {
        socket?.finish(stream?.messageByteCount ?? 0, answer.map(HostAnswer.init), hasChanged: true)
    }

    /// The answer that was due.
    private func reply(_ message: VhostUserMessage) {
        socket?.finish(0, HostAnswer(message), hasChanged: true)
    }

    /// The host has gone: nothing of its session counts any more.
    func hostLeft() {
        guard let session else { return }
        self.session = nil
        stream = nil
        pending = nil
        held = nil
        lastState = HostSession(offer: session.offer, after: session.state).state
        function.publish()
    }

    func reset(reason: String) {
        if isPCI {
            pci?.disconnect(reason: reason)
        } else if isHostConnected {
            socket?.disconnect(reason: reason)
        } else if let offer {
            lastState = HostSession(offer: offer, after: lastState).state
            function.publish()
        }
    }

    // --- the service ---

    func send(to peer: ControlPeer, lease: UInt64) {
        var state = state
        if peer.isRelayed {
            // Who stands by has nothing to reach.
            state.remote =
                function.lease?.number == lease
                ? grants(state) : RemoteGrants(refusal: "the lease stands by")
            core.relay?.follow(state, lease: lease)
        }
        peer.send(lease: lease) { number in ControlCoding.encode(state, number: number) }
    }

    private func grants(_ state: VirtioFunctionState) -> RemoteGrants {
        guard let relay = core.relay, let memory else {
            return RemoteGrants(refusal: "there is no relay")
        }
        return relay.grants(of: function.vuid, HostReach(state), functionMemory: memory)
    }

    func acknowledged(_ body: JSONValue) {
        var bases: [Int: UInt32] = [:]
        for (key, value) in body["bases"]?.object?.members ?? [] {
            if let index = Int(key), let base = value.unsigned {
                bases[index] = UInt32(truncatingIfNeeded: base)
            }
        }
        let generation = body.unsigned("generation") ?? 0
        settle(generation, bases)
        if generation < state.generation { return }
        isTakenUp = true
        if held != nil { socket?.resume() }
    }

    /// Everything up to `generation` has been carried out: answers what waited for it.
    private func settle(_ generation: UInt64, _ bases: [Int: UInt32]) {
        if let lease = function.lease {
            core.relay?.settle(function.vuid, lease: lease.number, generation)
        } else {
            core.relay?.endKeys(of: function.vuid)
        }
        pci?.settle(generation)
        session?.record(bases)
        guard let pending, generation >= pending.generation else { return }
        self.pending = nil
        if let answer = session?.finish(pending) { reply(answer) }
        socket?.resume()
    }

    func take(_ notice: String, _ body: JSONValue) {
        switch notice {
        case "configure":
            if let bytes = body.bytes("configuration"), bytes.count <= 256 { configure(bytes) }
        case "fail":
            let (queue, reason) = (body.int("queue") ?? 0, body.text("reason") ?? "unknown")
            core.log.error(
                "event=queue_failed function=\(function.vuid) queue=\(queue) reason=\"\(reason)\"")
            // The device cannot go on until it is reset (Virtio 1.2 §2.1, DEVICE_NEEDS_RESET).
            session?.markNeedsReset()
            pci?.markNeedsReset()
            if let configuration = session?.offer.configuration { configure(configuration) }
        default: break
        }
    }

    private func configure(_ configuration: [UInt8]) {
        offer?.configuration = configuration
        session?.update(configuration: configuration)
        pci?.configure(configuration)
        guard let channel = session?.backendChannel else { return }
        let notice = VhostUserMessage(VhostUserBackendRequest.configurationChanged.rawValue)
        // A channel that nobody reads loses the notice, and nothing else.
        _ = try? UnixSocket.send(notice.encoded()[...], to: channel.number)
    }
}
