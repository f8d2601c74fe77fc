internal import Hardware
internal import Logging
internal import Memory
internal import NVMe
internal import Platform

/// Keeping queues in step with the host.
extension NVMeController {
    /// A new state of the function. Only the latest counts.
    func follow(_ new: NVMeFunctionState) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        defer { firstLook.arrive(()) }
        latest = new
        if isDetached { return }
        switch state {
        case .closing, .closed, .opening, .offered, .handedOver, .expired: return
        case .standby: await standBy(new)
        default: await reconcile(new)
        }
    }

    /// Makes what runs be what `wanted` says: first ends what must end, then starts, then says so.
    func reconcile(_ wanted: NVMeFunctionState) async {
        let isEnabled = Registers.isEnabled(wanted.configuration)
        if wanted.epoch != epoch || !isEnabled { await endEpoch(wanted) }
        if hostMemory?.fits(wanted.memoryGeneration, wanted.remote) != true {
            await remap(wanted)
        }
        await exchangeInterrupts(wanted.vectors)
        if isEnabled, admin == nil, !hasFailed, state == .running { await startController(wanted) }
        if admin != nil, Registers.wantsShutdown(wanted.configuration) { await shutDown() }
        acknowledge(wanted)
    }

    /// Nothing of an older state can reach host memory any more; CSTS follows.
    func acknowledge(_ wanted: NVMeFunctionState) {
        let isEnabled = Registers.isEnabled(wanted.configuration)
        var status: UInt32 = 0
        if isEnabled {
            // A running driver's controller that this service has yet to take up stays ready.
            status = admin == nil ? wanted.status & Registers.ready : Registers.ready
            if hasFailed { status |= Registers.fatal }
            if admin != nil, Registers.wantsShutdown(wanted.configuration) {
                status |= Registers.shutdownComplete
            }
        }
        port.acknowledge(generation: wanted.generation, status: status)
    }

    // --- reset and shutdown ---

    /// A controller reset, or another host: what the driver has set up is gone. Nothing is posted
    /// for it any more, and what a device still does must end.
    private func endEpoch(_ wanted: NVMeFunctionState) async {
        let isAdoption = admin == nil && queues.isEmpty && wanted.status & Registers.ready != 0
        epoch = wanted.epoch
        // The first state of a lease: a driver may be running.
        if isAdoption, Registers.isEnabled(wanted.configuration) { return }
        await admin?.stop(discarding: true)
        for queue in queues.values { await queue.stop(discarding: true) }
        await waitForDrain("reset")
        await endQueues()
        model.reset()
        records.clear(model)
        _ = await carryChanges()
        hasFailed = false
    }

    /// Late is allowed, early is not: there is no deadline, but what merely waits is given up.
    private func waitForDrain(_ reason: String) async {
        for queue in queues.values where await !queue.drained(within: Self.drainLimit) {
            log.warning(
                "event=drain_is_slow controller=\(options.name) queue=\(queue.id) for=\(reason)")
            await queue.abandonHeld()
            _ = await queue.drained(within: nil)
        }
    }

    func endQueues() async {
        if let admin {
            await admin.close()
            group.giveBack(admin.reactor)
        }
        admin = nil
        for queue in queues.values {
            await queue.close()
            group.giveBack(queue.reactor)
        }
        queues = [:]
    }

    /// CC.SHN: what is in flight is answered, and caches are the backends' own, which acknowledge
    /// nothing that a crash of ours could lose.
    private func shutDown() async {
        for queue in queues.values { await queue.stop(discarding: false) }
        await waitForDrain("shutdown")
    }

    // --- memory and interrupts ---

    /// Gives the queues another memory table. When regions vanish, nothing may be under way.
    private func remap(_ wanted: NVMeFunctionState) async {
        // What ends with it takes its time, and is not the reactors'.
        let old = hostMemory
        defer { withExtendedLifetime(old) {} }
        let new: HostAccess.Way
        do {
            new = try access(wanted)
        } catch {
            log.error("event=map_failed controller=\(options.name) reason=\"\(error)\"")
            return await fail(error.reason)
        }
        let isSmaller = hostMemory.map { !new.covers($0.way) } ?? false
        if isSmaller {
            for queue in queues.values { await queue.stop(discarding: false) }
            await waitForDrain("unmap")
            if group.dataPath == .rdma { await admin?.quiesce() }
        }
        hostMemory = HostAccess(generation: wanted.memoryGeneration, way: new)
        lossCount = wanted.lossCount
        await admin?.exchange(memory: new)
        for queue in queues.values { await queue.exchange(memory: new) }
        if isSmaller, servesIO { await resumeQueues() }
        if isSmaller, state == .running { await admin?.resume() }
    }

    private func access(
        _ wanted: NVMeFunctionState
    ) throws(ControllerError) -> HostAccess.Way {
        guard group.dataPath == .rdma else {
            return .mapped(
                try memoryMap.map(wanted.memory, generation: wanted.memoryGeneration))
        }
        return try .remote(by: wanted.remote, isNeeded: state != .standby)
    }

    var servesIO: Bool {
        switch state {
        case .running, .suspended(eventsOnly: true): true
        default: false
        }
    }

    private func exchangeInterrupts(_ new: [SharedDescriptor?]) async {
        let old = vectors
        vectors = new
        func isChanged(_ vector: Int) -> Bool {
            let before = vector < old.count ? old[vector] : nil
            return before !== interrupt(vector)
        }
        if let admin, isChanged(0) { await admin.exchange(interrupt: interrupt(0)) }
        for queue in queues.values where isChanged(Int(queue.vector)) {
            await queue.exchange(interrupt: interrupt(Int(queue.vector)))
        }
    }

    func interrupt(_ vector: Int) -> SharedDescriptor? {
        vector < vectors.count ? vectors[vector] : nil
    }

    /// The controller cannot go on until its reset (CSTS.CFS).
    func fail(_ reason: String) async {
        if hasFailed { return }
        hasFailed = true
        log.error("event=controller_failed controller=\(options.name) reason=\"\(reason)\"")
        port.fail(reason: reason)
    }

    // --- starting ---

    /// CC.EN is 1: a fresh start, or the adoption of a controller whose driver is running.
    func startController(_ wanted: NVMeFunctionState) async {
        let isAdoption = wanted.status & Registers.ready != 0
        guard await readRecords() else { return }
        if isAdoption {
            guard records.restore(&model) else {
                return await fail("function memory does not say what its driver has set up")
            }
        } else {
            model.reset()
            records.clear(model)
        }
        guard await carryChanges() else { return await outOfReach() }
        if isAdoption {
            let completions = [0] + Array(model.completionQueues.keys)
            guard await readJournals(of: completions, []) else { return }
        }
        let pause = isAdoption ? pauseWatch() : nil
        arrival = nil
        // Its I/O waits already; nobody hurries for the admin queue.
        if isAdoption { await adoptQueues(ending: pause) }
        guard await startAdmin(wanted), isAdoption else { return }
        log.notice("event=controller_adopted controller=\(options.name) queues=\(queues.count)")
    }

    private func adoptQueues(ending pause: PauseWatch?) async {
        for (id, record) in model.completionQueues {
            do {
                let submissions = model.submissionQueues.filter { $0.value.completionQueue == id }
                queues[id] = try await startQueue(
                    id, record, submissions: submissions, ending: pause)
            } catch { await fail("queue \(id): \(error.reason)") }
        }
    }

    /// Measures how long its driver got no answer, once after the function came here.
    private func pauseWatch() -> PauseWatch? {
        let last = model.completionQueues.keys.map { id in
            journal.lastAnswer(of: id).loadAcquire64(at: 0)
        }.max()
        guard let kind = arrival, let last else { return nil }
        return pauseWatch(kind, since: last)
    }

    /// False: what the driver has set up cannot be an admin queue.
    func startAdmin(_ wanted: NVMeFunctionState) async -> Bool {
        guard let memory = hostMemory?.way else { return false }
        let attributes = wanted.adminQueueAttributes
        let reactor = group.place()
        runCount += 1
        let run = runCount
        let plan = RunningAdminQueue.Plan(
            submission: SubmissionQueueSetup(
                id: 0, address: wanted.adminSubmissionQueue, size: Int(attributes & 0xFFF) + 1,
                completionQueue: 0, tail: page(0, 0)),
            completion: CompletionQueueSetup(
                id: 0, address: wanted.adminCompletionQueue,
                size: Int(attributes >> 16 & 0xFFF) + 1, vector: 0, isInterruptEnabled: true,
                head: page(0, 4)),
            memory: memory, lease: port.lease, journal: journal,
            transferByteLimit: shape.transferByteLimit, kick: port.kicks[0],
            mode: port.doorbellMode, interrupt: interrupt(0), counters: counters[0])
        do {
            admin = try await RunningAdminQueue.start(plan, run: run, on: reactor) {
                [commandFeed] command in
                commandFeed.yield((run, command))
            } onFault: { [weak self] fault in
                Task { await self?.queueFailed(0, fault) }
            } onLoss: { [weak self] in
                Task { await self?.hostLost() }
            }
            return true
        } catch {
            group.giveBack(reactor)
            await fail("admin queue: \(error.reason)")
            return false
        }
    }

    /// A doorbell in the page of the BAR.
    private func page(_ queue: UInt16, _ offset: Int) -> Doorbell {
        let place = DoorbellPage.offset + 8 * Int(queue) + offset
        if port.isFar { return .far(offset: place) }
        return .page(doorbells.bytes.part(at: place, byteCount: 4))
    }

    func tail(of queue: UInt16) -> Doorbell { doorbell(queue, 0) }
    func head(of queue: UInt16) -> Doorbell { doorbell(queue, 4) }

    private func doorbell(_ queue: UInt16, _ offset: UInt64) -> Doorbell {
        guard let shadow = model.shadowDoorbells else { return page(queue, Int(offset)) }
        let place = 8 * UInt64(queue) + offset
        return .host(value: shadow.values + place, eventIndex: shadow.eventIndexes + place)
    }

    func startQueue(
        _ id: UInt16, _ record: QueueRecord, submissions: [UInt16: QueueRecord],
        ending pause: PauseWatch? = nil, isNew: Bool = false
    ) async throws(ControllerError) -> RunningIOQueue {
        guard let memory = hostMemory?.way else {
            throw ControllerError(ErrorNumber.invalid, "the host has granted no memory")
        }
        let plan = RunningIOQueue.Plan(
            completion: CompletionQueueSetup(
                id: id, address: record.address, size: record.size, vector: record.vector,
                isInterruptEnabled: record.isInterruptEnabled, head: head(of: id)),
            memory: memory, lease: port.lease, journal: journal, shape: shape,
            kick: port.kicks[Int(id)], mode: port.doorbellMode,
            interrupt: interrupt(Int(record.vector)),
            counters: counters[Int(id)],
            namespaces: attached.values.map { ($0.facts.view, $0.device) },
            submissions: submissions.map { (setup($0.key, $0.value), port.kicks[Int($0.key)]) },
            pause: pause, isNew: isNew)
        let reactor = group.place(beside: queues.values.map(\.reactor))
        do {
            return try await RunningIOQueue.start(plan, on: reactor) { [weak self] fault in
                Task { await self?.queueFailed(id, fault) }
            } onLoss: { [weak self] in
                Task { await self?.hostLost() }
            }
        } catch {
            group.giveBack(reactor)
            throw error
        }
    }

    func setup(_ id: UInt16, _ record: QueueRecord) -> SubmissionQueueSetup {
        SubmissionQueueSetup(
            id: id, address: record.address, size: record.size,
            completionQueue: record.completionQueue, tail: tail(of: id))
    }

    private var shape: QueueShape {
        QueueShape(
            transferByteLimit: 4096 << options.mdts,
            namespaceLimit: Int(subsystem.namespaceLimit))
    }

    /// A queue cannot go on until the controller's reset.
    private func queueFailed(_ id: UInt16, _ fault: QueueFault) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        if fault == .invalidDoorbell {
            log.error("event=invalid_doorbell controller=\(options.name) queue=\(id)")
            model.invalidDoorbell()
            await deliverEvents()
        } else {
            await fail("queue \(id): \(fault.text)")
        }
    }
}

extension HostAccess.Way {
    /// Whether everything that is in use may stay so. With other keys nothing may.
    fileprivate func covers(_ other: HostAccess.Way) -> Bool {
        guard case .mapped(let new) = self, case .mapped(let old) = other else { return false }
        return new.covers(old)
    }
}

extension HostMemory {
    /// Whether every region of `other` is here unchanged.
    fileprivate func covers(_ other: HostMemory) -> Bool {
        other.regions.allSatisfy { old in
            regions.contains {
                $0.guestAddress == old.guestAddress && $0.byteCount == old.byteCount
                    && $0.mapping === old.mapping && $0.mappingOffset == old.mappingOffset
            }
        }
    }
}
