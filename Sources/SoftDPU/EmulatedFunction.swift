internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import VhostUser

/// One emulated virtio function: it outlives the services that drive it.
///
/// Without a lease it still answers its host (design, "Absence rule"): features, configuration and
/// negotiated state come from the last controller's offer; nothing is in flight, so resets complete
/// at once.
final class EmulatedFunction {
    /// The right of one service to drive the function.
    struct Lease {
        let number: UInt64
        let peer: ControlPeer
        /// Latest state that the service has carried out.
        var acknowledged: UInt64 = 0
    }

    /// What an opened lease comes with.
    struct Grant {
        var lease: UInt64
        var predecessors: [UInt64]
        var memory: SharedDescriptor
    }

    let vuid: String
    private unowned let core: DPUCore
    private(set) var lease: Lease?
    /// What the last controller offered; nil before there was one.
    private(set) var offer: VirtioOffer?
    private var memory: SharedDescriptor?
    private var memoryShape: (queueCount: Int, queueSize: Int) = (0, 0)
    /// Holders that did not close their lease: their requests may be under way.
    private var predecessors: [UInt64] = []
    private var port: HostPort?
    /// Resets that wait for the service, with the state that ends each.
    private var waiters: [(generation: UInt64, done: () -> Void)] = []
    /// State that the host's messages have led to, kept while no host is connected.
    private var lastState = VirtioFunctionState(
        generation: 0, epoch: 0, driverFeatures: 0, memoryGeneration: 0, memory: [], queues: [],
        inflight: nil)

    init(_ vuid: String, core: DPUCore, after predecessors: [UInt64]) {
        self.vuid = vuid
        self.core = core
        self.predecessors = predecessors
    }

    var hostSocketPath: String? { port?.path }
    /// Why no front end may connect now; nil when one may.
    var closedReason: String? {
        guard let function = try? core.card.function(vuid) else { return "gone" }
        if function.isVisible && core.card.isHostOn { return nil }
        return core.card.isHostOn ? "not_visible" : "host_off"
    }

    var state: VirtioFunctionState { port?.session?.state ?? lastState }

    // --- leases ---

    /// EBUSY: a controller has the lease.
    func checkFree() throws(HardwareError) {
        if lease != nil {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is driven by controller \"\(offer?.controller ?? "?")\";"
                    + " destroy that controller first")
        }
    }

    /// Gives the serving lease to `peer`.
    func open(
        _ wanted: VirtioOffer, for peer: ControlPeer, number: UInt64
    ) throws(HardwareError) -> Grant {
        try checkAgainstHost(wanted)
        let file = try functionMemory(for: wanted)
        if port == nil { port = try HostPort(self, core: core) }
        let isFirst = offer == nil
        offer = wanted
        lease = Lease(number: number, peer: peer)
        let waiting = predecessors
        if isFirst || !(port?.isConnected ?? false) {
            lastState = HostSession(offer: wanted, after: lastState).state
        }
        port?.adopt(wanted)
        core.log.notice("event=lease_opened function=\(vuid) controller=\(wanted.controller)")
        return Grant(lease: number, predecessors: waiting, memory: file)
    }

    /// Refuses to take back what a connected host has negotiated, field by field.
    private func checkAgainstHost(_ wanted: VirtioOffer) throws(HardwareError) {
        guard port?.isConnected ?? false, let offer else { return }
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
            "\(field): function \(vuid) has a host connected; the new controller's "
                + "\(field) \(text)")
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

    /// The service is done with the function: nothing of it is under way.
    func close() {
        guard lease != nil else { return }
        predecessors = []
        endLease()
    }

    /// The service is gone; what it had under way may not be.
    func abandon() {
        guard let lease else { return }
        predecessors.append(lease.peer.holder)
        endLease()
    }

    private func endLease() {
        guard let ended = lease else { return }
        lease = nil
        core.leaseEnded(ended.number, of: self)
        core.log.notice("event=lease_ended function=\(vuid)")
        settleWaiters()
        // Nobody is left to acknowledge: answer what the host waits for.
        port?.acknowledged(generation: .max, bases: absentBases())
    }

    // --- between host and service ---

    /// Shows the present state to whoever drives the function.
    func publish() {
        core.machineDriver(of: vuid, isRunning: state.queues.contains(where: \.isRunning))
        guard let lease else { return }
        lease.peer.send(state, lease: lease.number)
    }

    func acknowledge(generation: UInt64, bases: [Int: UInt32]) {
        lease?.acknowledged = generation
        // The first one of a lease says that predecessors have been waited for.
        predecessors = []
        settleWaiters()
        port?.acknowledged(generation: generation, bases: bases)
    }

    /// Where stopped queues would go on, read from their in-flight areas: nobody drives them.
    func absentBases() -> [Int: UInt32] {
        guard lease == nil, let memory, let functionMemory = try? FunctionMemory(adopting: memory)
        else { return [:] }
        var bases: [Int: UInt32] = [:]
        for queue in state.queues where !queue.isRunning {
            let index =
                state.inflight?.loggedUsedIndex(queue: queue.index)
                ?? functionMemory.loggedUsedIndex(queue: queue.index, run: queue.run)
            if let index { bases[queue.index] = UInt32(index) }
        }
        return bases
    }

    func configure(_ configuration: [UInt8]) {
        offer?.configuration = configuration
        port?.configure(configuration)
    }

    func failed(queue: Int, reason: String) {
        core.log.error(
            "event=queue_failed function=\(vuid) queue=\(queue) reason=\"\(reason)\"")
        port?.needsReset()
    }

    /// The host has gone: nothing of its session counts any more.
    func hostLeft(_ session: HostSession) {
        lastState = HostSession(offer: session.offer, after: session.state).state
        publish()
        core.hostLeft(vuid)
    }

    /// Takes the function away from its host: a connected one is disconnected, nothing that was set
    /// up counts any more. `done` is called when nothing of it can reach host memory (design,
    /// "Reset rule").
    func reset(_ reason: String, then done: @escaping () -> Void) {
        if let port, port.isConnected {
            port.disconnect(reason: reason)
        } else if let offer {
            lastState = HostSession(offer: offer, after: lastState).state
            publish()
        }
        waiters.append((state.generation, done))
        settleWaiters()
    }

    private func settleWaiters() {
        let reached = lease?.acknowledged ?? .max
        let ready = waiters.filter { $0.generation <= reached }
        waiters.removeAll { $0.generation <= reached }
        for waiter in ready { waiter.done() }
    }

    /// Whether a service must acknowledge before the host may be answered.
    var mustWait: Bool { lease != nil }

    func startState() -> VirtioFunctionState { lastState }

    func shutDown() { port?.close() }
}
