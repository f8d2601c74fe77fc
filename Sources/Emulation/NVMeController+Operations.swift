internal import Bdev
internal import Hardware
internal import Logging
public import NVMe
internal import Platform
internal import Reactor

/// What operators ask for.
extension NVMeController {
    /// Number of the lease that it holds.
    public nonisolated var lease: UInt64 { port.lease }

    // --- suspend and resume ---

    /// Stops serving: what is in flight is answered, the rest waits on the queues. When `limit`
    /// passes first, the controller goes on serving.
    /// - Parameter force: commands that no device works on are aborted.
    public func suspend(within limit: Duration?, force: Bool) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        if case .suspended(eventsOnly: false) = state {
            throw ControllerError(
                ErrorNumber.invalid, "controller \"\(options.name)\" is suspended already")
        }
        try checkNotHandedOver()
        try step(.suspend)
        try await stop(within: limit, force: force)
        CrashPoint.suspendDrained.reached()
        try step(.suspended)
    }

    /// Stops the admin queue and drains the others, or goes on as before and says so.
    func stop(within limit: Duration?, force: Bool) async throws(ControllerError) {
        let adminQueue = Countdown(admin == nil ? 0 : 1)
        admin?.drain { adminQueue.finish() }
        if force { for queue in queues.values { await queue.abandonHeld() } }
        let isDrained = await drain(within: limit)
        _ = await adminQueue.wait(within: nil)
        if isDrained { return }
        switch state {
        case .suspending(from: .running):
            await resumeQueues()
            await admin?.resume()
        case .suspending(from: .suspended(eventsOnly: true)): await resumeQueues()
        default: break
        }
        try step(.abandonSuspend)
        throw ControllerError(
            ErrorNumber.timedOut,
            "controller \"\(options.name)\" did not drain in time; it goes on serving")
    }

    /// Goes on with I/O; admin commands wait until `resume`.
    public func suspendAdmin() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try step(.eventsSuspended)
        await admin?.stop(discarding: false)
    }

    public func resume() async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try checkNotHandedOver()
        guard case .suspended = state else {
            throw ControllerError(
                ErrorNumber.invalid,
                "controller \"\(options.name)\" is \(state.situation), not suspended")
        }
        try step(.resume)
        CrashPoint.resumeBegun.reached()
        await resumeQueues()
        await admin?.resume()
        try step(.resumed)
        if let latest, !isDetached { await reconcile(latest) }
    }

    /// Stops every I/O queue and waits. False: `limit` has passed.
    func drain(within limit: Duration?) async -> Bool {
        let all = Countdown(queues.count)
        for queue in queues.values { queue.drain { all.finish() } }
        return await all.wait(within: limit)
    }

    func resumeQueues() async {
        for queue in queues.values { await queue.resume() }
    }

    // --- namespaces ---

    public var namespaceIDs: [UInt32] { attached.keys.sorted() }

    /// Shows a namespace to the host.
    func attach(_ namespace: NVMeNamespace) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try checkOpen()
        let device = namespace.use.device
        let entry = AttachedNamespace(
            namespace: namespace, facts: facts(of: namespace, device), device: device)
        try await waitForPredecessors(device)
        var done: [RunningIOQueue] = []
        for queue in queues.values {
            do {
                try await queue.attach(entry.facts.view, device)
                done.append(queue)
            } catch {
                for queue in done { await queue.startDetach(namespace.id) }
                for queue in done {
                    await queue.finishDetach(namespace.id, within: Self.drainLimit)
                }
                throw error
            }
        }
        attached[namespace.id] = entry
        model.attach(entry.facts)
        await tell(namespace.id)
    }

    /// Takes a namespace away from the host. Its commands end first.
    func detach(_ id: UInt32) async throws(ControllerError) {
        await enterTurnstile()
        defer { turnstile.leave() }
        try checkOpen()
        guard attached.removeValue(forKey: id) != nil else {
            throw ControllerError(
                ErrorNumber.invalid,
                "namespace \(id) is not attached to controller \"\(options.name)\"")
        }
        model.detach(id)
        for queue in queues.values { await queue.startDetach(id) }
        for queue in queues.values { await queue.finishDetach(id, within: Self.drainLimit) }
        await tell(id)
    }

    /// A namespace's block device has another size.
    func resize(_ id: UInt32) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        guard var entry = attached[id] else { return }
        entry.facts = facts(of: entry.namespace, entry.device)
        attached[id] = entry
        model.attach(entry.facts)
        for queue in queues.values { await queue.update(entry.facts.view) }
        await tell(id)
    }

    private func checkOpen() throws(ControllerError) {
        switch state {
        case .closing, .closed, .opening:
            throw ControllerError(
                ErrorNumber.busy, "controller \"\(options.name)\" is being destroyed")
        default: return
        }
    }

    /// A controller that has yet to take up its running driver tells it nothing: what it attaches
    /// is what the driver knows.
    private func tell(_ id: UInt32) async {
        guard admin != nil else { return await reportReadiness() }
        model.namespaceChanged(id)
        await store()
        await deliverEvents()
    }

    /// Nothing of an old holder may still reach storage (design, "Predecessor rule").
    private func waitForPredecessors(_ device: BlockDevice) async throws(ControllerError) {
        await waitForPredecessors(at: device)
        do {
            try device.backend.hold(for: port.holder)
        } catch {
            throw ControllerError(
                ErrorNumber.inputOutput, "bdev \"\(device.name)\" cannot be locked: \(error)")
        }
    }

    func waitForPredecessors(at device: BlockDevice) async {
        for holder in predecessors where (try? device.backend.isHeld(by: holder)) == true {
            log.notice("event=waiting_for_predecessor controller=\(options.name)")
            while (try? device.backend.isHeld(by: holder)) == true {
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func facts(of namespace: NVMeNamespace, _ device: BlockDevice) -> NamespaceFacts {
        let geometry = device.geometry
        let backend = device.backend
        let view = NamespaceView(
            id: namespace.id, blockShift: UInt8(geometry.blockByteCount.trailingZeroBitCount),
            blockCount: geometry.blockCount, isReadOnly: backend.isReadOnly,
            hasCache: backend.supports(.flush),
            offersWriteZeroes: options.offersWriteZeroes && backend.supports(.writeZeroes),
            offersCompare: options.offersCompare || options.offersCompareAndWrite,
            offersDeallocate: options.offersDeallocate, offersVerify: true)
        return NamespaceFacts(
            view: view, uuid: namespace.uuid.bytes, nguid: namespace.nguid,
            eui64: namespace.eui64)
    }

    // --- figures ---

    public struct QueueReport: Sendable {
        public var id: Int
        public var core: Int
        public var counts: QueueCounters.Reading
    }

    /// One entry for each I/O queue that the controller has, running or not.
    public func report() -> [QueueReport] {
        (1..<counters.count).map { index in
            let queue = queues[UInt16(index)]
            return QueueReport(
                id: index, core: queue?.reactor.core ?? 0, counts: counters[index].reading)
        }
    }

    public struct SubmissionReport: Sendable {
        public var id: Int
        public var completionQueue: Int
        public var size: Int
        public var isRunning: Bool
    }

    public struct CompletionReport: Sendable {
        public var id: Int
        public var size: Int
        public var vector: Int
        public var counts: QueueCounters.Reading
    }

    /// The queues that the driver has created.
    public func queueReport() -> (submissions: [SubmissionReport], completions: [CompletionReport])
    {
        let submissions = model.submissionQueues.sorted { $0.key < $1.key }.map { id, record in
            SubmissionReport(
                id: Int(id), completionQueue: Int(record.completionQueue), size: record.size,
                isRunning: queues[record.completionQueue] != nil)
        }
        let completions = model.completionQueues.sorted { $0.key < $1.key }.map { id, record in
            CompletionReport(
                id: Int(id), size: record.size, vector: Int(record.vector),
                counts: counters[Int(id)].reading)
        }
        return (submissions, completions)
    }
}
