import Memory
import NVMe
import StoreProbe

/// Keeping in step with the host, and what operators ask for.
extension SimulatedController {
    /// Makes what runs be what the function says: ends, starts, then says so.
    func reconcile() {
        let generation = function.generation
        latest = function.registers
        let isEnabled = function.registers.isEnabled
        let isNew = function.epoch != epoch || !isEnabled
        then(
            { [unowned self] in
                if isNew { endEpoch(isEnabled: isEnabled) }
                return true
            },
            { [unowned self] in
                if memory?.generation != function.memory.generation { remap() }
                return true
            },
            { [unowned self] in
                if function.generation != generation {
                    // The host went on meanwhile; the newest state counts.
                    reconcile()
                    return true
                }
                if isEnabled, admin == nil, !isSuspended { startController() }
                if admin != nil, function.registers.wantsShutdown { shutDown() }
                then { [unowned self] in
                    acknowledge(generation)
                    return true
                }
                return true
            })
    }

    private func acknowledge(_ generation: Int) {
        // What the dead say is not heard.
        if store_probe_has_cut() { return }
        followed = generation
        guard function.generation == generation else { return }
        var status: UInt32 = 0
        if function.registers.isEnabled {
            status =
                admin == nil ? function.registers.status & Registers.ready : Registers.ready
            if admin != nil, function.registers.wantsShutdown {
                status |= Registers.shutdownComplete
            }
        }
        function.registers.acknowledge(status: status)
    }

    // --- reset and shutdown ---

    private func endEpoch(isEnabled: Bool) {
        let isAdoption = admin == nil && queues.isEmpty && function.registers.isReady
        epoch = function.epoch
        // The first state of a lease: a driver may be running.
        if isAdoption, isEnabled { return }
        admin?.queue.discard()
        for id in queueIDs { queues[id]?.queue.discard() }
        heat()
        then(drained, quiet) { [unowned self] in
            endQueues()
            clearRecords()
            return true
        }
    }

    private func clearRecords() {
        model.reset()
        records.clear(model)
        carry()
        if !store_probe_has_cut() { function.settled = [] }
    }

    var drained: Step {
        { [unowned self] in queues.values.allSatisfy { $0.queue.isDrained } }
    }

    /// The admin queue, stopped, has nothing under way.
    var quiet: Step { { [unowned self] in admin?.queue.isQuiet != false } }

    /// CC.SHN: what is in flight is answered.
    private func shutDown() {
        for id in queueIDs { queues[id]?.queue.drain() }
        heat()
        then(drained)
    }

    private func remap() {
        let new = function.memory
        // The keys are others in any case.
        let isSmaller =
            memory.map { site != nil || $0.regions.count > new.regions.count } ?? false
        if isSmaller {
            if site != nil { admin?.queue.drain() }
            for id in queueIDs { queues[id]?.queue.drain() }
            heat()
        }
        let (drained, quiet) = (drained, quiet)
        then(
            { [unowned self] in !isSmaller || drained() && (site == nil || quiet()) },
            { [unowned self] in
                memory = new
                admin?.queue.exchange(memory: new)
                for id in queueIDs { queues[id]?.queue.exchange(memory: new) }
                if isSmaller, !isSuspended {
                    resumeQueues()
                    if site != nil { admin?.queue.resume() }
                }
                heat()
                return true
            })
    }

    // --- starting ---

    private func startController() {
        let isAdoption = function.registers.isReady
        readRecords()
        if isAdoption {
            guard records.restore(&model) else {
                return complain("function memory does not say what its driver has set up")
            }
        } else {
            clearRecords()
        }
        carry()
        if isAdoption { readJournals([0] + model.completionQueues.keys, of: []) }
        do {
            try startAdmin()
            for id in isAdoption ? model.completionQueues.keys.sorted() : [] {
                guard let record = model.completionQueues[id] else { continue }
                let submissions = model.submissionQueues.filter { $0.value.completionQueue == id }
                    .sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
                queues[id] = try startQueue(id, record, submissions: submissions)
            }
        } catch { complain("a queue does not start: \(error)") }
    }

    func startAdmin() throws {
        guard let memory else { return }
        let attributes = latest.adminQueueAttributes
        runs += 1
        let submission = SubmissionQueueSetup(
            id: 0, address: latest.adminSubmissionQueue,
            size: Int(attributes & 0xFFF) + 1, completionQueue: 0,
            tail: function.doorbell(0, isFar: site?.far != nil))
        let completion = CompletionQueueSetup(
            id: 0, address: latest.adminCompletionQueue,
            size: Int(attributes >> 16 & 0xFFF) + 1, vector: 0, isInterruptEnabled: true,
            head: function.doorbell(1, isFar: site?.far != nil))
        let queue: any SimulatedAdminModel
        if let site {
            queue = try MirroredAdminModel(
                submission: submission, completion: completion, memory: memory, journal: journal,
                site: site, line: function.lines[0])
        } else {
            queue = MappedAdminModel(
                try AdminQueue(
                    submission: submission, completion: completion, memory: memory,
                    journal: journal, interrupt: function.lines[0], counters: QueueCounters()))
        }
        let running = SimulatedAdminQueue(queue, run: runs, function)
        running.queue.interruptAnyway()
        admin = running
    }

    // --- operators ---

    func resumeQueues() {
        for id in queueIDs { queues[id]?.queue.resume() }
    }

    /// Stops serving. A drain that `givesUp` is undone.
    func suspend(givesUp: Bool) {
        perform { [unowned self] in
            if isSuspended { return true }
            admin?.queue.drain()
            for id in queueIDs { queues[id]?.queue.drain() }
            heat()
            if givesUp {
                resumeQueues()
                admin?.queue.resume()
                heat()
                return true
            }
            isSuspended = true
            then(drained, quiet)
            return true
        }
    }

    func resume() {
        perform { [unowned self] in
            isSuspended = false
            resumeQueues()
            admin?.queue.resume()
            heat()
            reconcile()
            return true
        }
    }

    /// Follows what the operator wants of a namespace: attached or not, and its size.
    func follow(_ namespace: SimulatedNamespace, isAttached: Bool, blockCount: Int) {
        perform { [unowned self] in
            namespace.blockCount = blockCount
            let wasAttached = model.namespaces[namespace.id] != nil
            namespace.isAttached = isAttached
            switch (wasAttached, isAttached) {
            case (false, true):
                model.attach(namespace.facts)
                for id in queueIDs {
                    do { try queues[id]?.attach(namespace.view, namespace.disk) } catch {
                        complain("a namespace is not attached: \(error)")
                    }
                }
            case (true, false): detach(namespace)
            case (true, true):
                model.attach(namespace.facts)
                for id in queueIDs { queues[id]?.queue.update(namespace.view) }
            case (false, false): break
            }
            then { [unowned self] in
                tell(namespace)
                return true
            }
            if !isAttached, wasAttached { waitForDetach(namespace) }
            return true
        }
    }

    private func detach(_ namespace: SimulatedNamespace) {
        model.detach(namespace.id)
        for id in queueIDs { queues[id]?.queue.detach(namespace: namespace.id) }
        heat()
    }

    private func waitForDetach(_ namespace: SimulatedNamespace) {
        then(
            { [unowned self] in
                queues.values.allSatisfy { $0.queue.isDrained(namespace: namespace.id) }
            },
            { [unowned self] in
                for id in queueIDs { queues[id]?.queue.release(namespace: namespace.id) }
                return true
            })
    }

    private func tell(_ namespace: SimulatedNamespace) {
        if store_probe_has_cut() { return }
        if admin != nil {
            model.namespaceChanged(namespace.id)
            storeRecord()
            deliverEvents()
        }
        if !store_probe_has_cut() { namespace.isChanging = false }
    }
}
