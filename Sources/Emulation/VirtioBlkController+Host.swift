internal import Bdev
internal import Hardware
internal import Logging
internal import Memory
internal import Platform
internal import VirtioBlk

/// Keeping queues in step with the host.
extension VirtioBlkController {
    /// A new state of the function. Only the latest counts.
    func follow(_ new: VirtioFunctionState) async {
        await enterTurnstile()
        defer { turnstile.leave() }
        latest = new
        if isDetached { return }
        switch state {
        case .closing, .closed, .opening, .suspended(eventsOnly: true): return
        case .offered, .handedOver, .expired: return
        case .standby: await standBy(new)
        default: await reconcile(new)
        }
    }

    /// Makes what runs be what `wanted` says: first ends what must end, then says so, then starts.
    /// - Parameter stopped: where queues stand that were stopped before.
    func reconcile(_ wanted: VirtioFunctionState, stopped: [Int: UInt32] = [:]) async {
        let isRemapped = hostMemory?.fits(wanted.memoryGeneration, wanted.remote) != true
        let ending = queues.values.filter { mustEnd($0, wanted, isRemapped: isRemapped) }
        await followLog(wanted)
        await quiesce(ending, epoch: wanted.epoch)
        let bases = await endQueues(ending).merging(stopped) { ended, _ in ended }
        if isRemapped { remap(wanted) }
        for queue in wanted.queues where queues[queue.index] != nil {
            await exchangeCall(of: queue)
        }
        // Nothing of an older state can reach host memory any more.
        port.acknowledge(generation: wanted.generation, bases: bases)
        if state == .running { await startQueues(wanted) }
    }

    private func mustEnd(
        _ queue: RunningQueue, _ wanted: VirtioFunctionState, isRemapped: Bool
    ) -> Bool {
        guard queue.index < wanted.queues.count else { return true }
        let grant = wanted.queues[queue.index]
        return isRemapped || !grant.isRunning || grant.run != queue.run
            || queue.epoch != wanted.epoch || queue.kick !== grant.kick
    }

    /// Waits for the requests of `ending`. Late is allowed, early is not: there is no deadline, but
    /// what merely waits is given up after a while.
    private func quiesce(_ ending: [RunningQueue], epoch: UInt64) async {
        for queue in ending { await queue.stop(discarding: queue.epoch != epoch) }
        for queue in ending where await !queue.drained(within: Self.drainLimit) {
            log.warning(
                "event=drain_is_slow controller=\(options.name) queue=\(queue.index)")
            await queue.abandonHeld()
            _ = await queue.drained(within: nil)
        }
    }

    /// Ends quiesced queues. Returns where each would go on, if its ring is still the same one:
    /// a new front end, or a driver after a reset, has said already where the next one starts.
    func endQueues(_ ending: [RunningQueue]) async -> [Int: UInt32] {
        var bases: [Int: UInt32] = [:]
        for queue in ending {
            if let position = await queue.close() {
                if let rings = latest?.queues, queue.index < rings.count,
                    rings[queue.index].run == queue.run
                {
                    bases[queue.index] = position.vringBase(isPacked: queue.isPacked)
                }
                resumePositions[queue.index] = (queue.run, position)
            }
            group.giveBack(queue.reactor)
            queues[queue.index] = nil
        }
        return bases
    }

    func remap(_ wanted: VirtioFunctionState) {
        hostMemory = nil
        do throws(ControllerError) {
            hostMemory = HostAccess(
                generation: wanted.memoryGeneration, way: try access(wanted))
        } catch {
            log.error("event=map_failed controller=\(options.name) reason=\"\(error)\"")
            port.fail(queue: 0, reason: error.reason)
        }
    }

    private func access(
        _ wanted: VirtioFunctionState
    ) throws(ControllerError) -> HostAccess.Way {
        guard group.dataPath == .rdma else {
            return .mapped(
                try memoryMap.map(wanted.memory, generation: wanted.memoryGeneration))
        }
        return try .remote(by: wanted.remote, isNeeded: state != .standby)
    }

    private func exchangeCall(of grant: QueueGrant) async {
        guard let queue = queues[grant.index], calls[grant.index] !== grant.call else { return }
        calls[grant.index] = grant.call
        await queue.exchangeCall(grant.call)
    }

    func startQueues(_ wanted: VirtioFunctionState) async {
        guard let access = hostMemory?.way else { return }
        switch access {
        case .mapped: if wanted.memory.isEmpty { return }
        case .remote(let memory, _): if memory.regions.isEmpty { return }
        }
        let pause = pauseWatch(wanted)
        for grant in wanted.queues where grant.isRunning && queues[grant.index] == nil {
            if failedRuns[grant.index] == grant.run { continue }
            await start(grant, wanted, access, pause)
        }
    }

    /// Measures how long its driver got no answer, once after the function came here.
    private func pauseWatch(_ wanted: VirtioFunctionState) -> PauseWatch? {
        guard let kind = arrival else { return nil }
        arrival = nil
        let last = wanted.queues.filter(\.isRunning).map { queue in
            functionMemory.answerTime(queue: queue.index, run: queue.run)
        }.max()
        guard let last else { return nil }
        return pauseWatch(kind, since: last)
    }

    private func start(
        _ grant: QueueGrant, _ wanted: VirtioFunctionState, _ memory: HostAccess.Way,
        _ pause: PauseWatch?
    ) async {
        let reactor = group.place(beside: queues.values.map(\.reactor))
        do {
            var plan = try plan(for: grant, wanted, memory)
            plan.pause = pause
            calls[grant.index] = grant.call
            queues[grant.index] = try await RunningQueue.start(
                index: grant.index, run: grant.run, epoch: wanted.epoch, plan: plan, on: reactor,
                counters: counters[grant.index],
                onFault: { [weak self] fault in
                    Task { await self?.queueFailed(grant.index, run: grant.run, fault.text) }
                },
                onLoss: { [weak self] in
                    Task { await self?.queueLost(grant.index, run: grant.run) }
                })
        } catch {
            group.giveBack(reactor)
            queueFailed(grant.index, run: grant.run, error.reason)
        }
    }

    /// A queue cannot go on until the driver resets the device.
    func queueFailed(_ index: Int, run: UInt64, _ reason: String) {
        failedRuns[index] = run
        log.error(
            "event=queue_failed controller=\(options.name) queue=\(index) reason=\"\(reason)\"")
        port.fail(queue: index, reason: reason)
    }

    private func plan(
        for grant: QueueGrant, _ wanted: VirtioFunctionState, _ access: HostAccess.Way
    ) throws(ControllerError) -> RunningQueue.Plan {
        let features = wanted.driverFeatures
        let isPacked = features & VirtioFeature.packedRing != 0
        var position = VirtqueuePosition(vringBase: grant.base, isPacked: isPacked)
        // The same life of the ring, under another memory table or bdev: go on where it stopped.
        if let stopped = resumePositions[grant.index], stopped.run == grant.run {
            position = stopped.position
        }
        let setup = VirtqueueSetup(
            size: grant.size, isPacked: isPacked,
            usesEventIndex: features & VirtioFeature.eventIndex != 0,
            allowsIndirect: features & VirtioFeature.indirectDescriptors != 0,
            descriptorArea: grant.descriptorArea, driverArea: grant.driverArea,
            deviceArea: grant.deviceArea, position: position)
        let configuration = BlockQueue.Configuration(
            shape: shape, identifier: Array(serial.utf8), isInOrder: options.isInOrder)
        guard case .mapped(let memory) = access else {
            return try remotePlan(for: grant, setup, access, configuration)
        }
        let (log, owner) = try inflightArea(for: grant, wanted.inflight)
        return RunningQueue.Plan(
            setup: setup, memory: .mapped(memory), log: log, logOwner: owner,
            configuration: configuration, device: use?.device,
            dirty: try dirtyMarks(for: grant, wanted),
            logGeneration: wanted.logGeneration, kick: grant.kick, call: grant.call,
            lastAnswer: functionMemory.answerMark(queue: grant.index, run: grant.run))
    }

    /// The front end's region when it keeps one, else function memory. An area of another life of
    /// the ring is cleared first.
    private func inflightArea(
        for grant: QueueGrant, _ inflight: InflightGrant?
    ) throws(ControllerError) -> (SharedBytes, Mapping?) {
        // Notes when its queue answers, in any case.
        let area = functionMemory.inflightArea(queue: grant.index, run: grant.run)
        guard let inflight else { return (area, functionMemory.mapping) }
        let place = try inflightPlace(
            of: grant, queueCount: inflight.queueCount, queueSize: inflight.queueSize)
        do {
            let mapping = try Mapping(
                inflight.file.number, offset: inflight.fileOffset,
                byteCount: Int(inflight.byteCount))
            return (
                mapping.bytes.part(at: place.lowerBound, byteCount: place.count), mapping
            )
        } catch { throw ControllerError(error.code, "in-flight region: \(error)") }
    }

    /// A queue's bytes of the in-flight region that a front end keeps. EINVAL: it has asked for a
    /// region of fewer queues than it starts.
    func inflightPlace(
        of grant: QueueGrant, queueCount: Int, queueSize: Int
    ) throws(ControllerError) -> Range<Int> {
        guard grant.index < queueCount else {
            throw ControllerError(
                ErrorNumber.invalid,
                "in-flight region: it has \(queueCount) queues, not one for queue "
                    + "\(grant.index)")
        }
        let stride = InflightGrant.stride(queueSize: queueSize)
        return grant.index * stride..<(grant.index + 1) * stride
    }
}
