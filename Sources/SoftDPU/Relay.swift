internal import Hardware
internal import Logging
internal import Memory
internal import Platform
internal import RDMA

/// The host's side of the RDMA data path: it registers host memory and hands out the keys, turns
/// kicks into messages and messages into interrupts. Confined to the DPU's loop.
///
/// Each reactor of a service has one queue pair here, whatever the number of its functions.
final class Relay {
    private static let linkLimit = 64
    private static let acceptNanoseconds: UInt64 = 5_000_000_000

    /// A queue that a service serves: its kicks go there, and its interrupts come from there.
    private struct Subscription {
        let link: UInt32
        /// A copy, the same eventfd may kick several queues, and its token.
        let kick: (copy: SharedDescriptor, token: UInt64)?
        /// As the host gave them.
        let given: ObjectIdentifier?
        let call: ObjectIdentifier?
        let run: UInt64
        /// Whether a kick waits for room.
        var isOwed = false
        /// The first state in which the queue does not run any more.
        var lapsed: UInt64?
    }

    private struct QueueKey: Hashable {
        let lease: UInt64
        let queue: Int
    }

    /// Where services connect.
    let endpoint: RDMAEndpoint
    let device: VerbsDevice
    private let domain: ProtectionDomain
    private let queue: CompletionQueue
    private let events: EventChannel
    private let listener: Listener
    private unowned let core: DPUCore
    private var links: [UInt32: RelayEnd] = [:]
    private var subscriptions: [QueueKey: Subscription] = [:]
    /// By VUID.
    private var keys: [String: FunctionKeys<HostKeys>] = [:]
    private var batch = CompletionBatch(capacity: 64)

    /// Listens on the device `name`.
    init(_ name: String, core: DPUCore) throws(RDMAError) {
        self.core = core
        device = try VerbsDevice(name)
        domain = try ProtectionDomain(device)
        let entries = Self.linkLimit * (RelayEnd.sendDepth + RelayEnd.receiveDepth)
        queue = try CompletionQueue(
            device, capacity: min(entries, device.limits.entriesPerCompletionQueue))
        events = try EventChannel()
        guard let address = try device.port().address else {
            throw .noAddress(device: device.name)
        }
        (listener, endpoint) = try Self.listen(at: address, on: events)
        do throws(SystemError) {
            _ = try core.context.add(events.descriptor) { [unowned self] in dispatch() }
            _ = try core.context.add(queue.descriptor) { [unowned self] in
                queue.takeEvents()
                poll()
            }
        } catch { throw .system(error) }
        queue.arm()
    }

    /// At the first port that is free.
    private static func listen(
        at address: String, on events: EventChannel
    ) throws(RDMAError) -> (Listener, RDMAEndpoint) {
        var port = UInt16(truncatingIfNeeded: 20_000 + ProcessFacts.identifier % 20_000)
        while true {
            let endpoint = RDMAEndpoint(address, port: port)
            do throws(RDMAError) {
                return (try Listener(on: events, at: endpoint), endpoint)
            } catch {
                if error.errorNumber != ErrorNumber.addressInUse || port > 60_000 { throw error }
                port += 1
            }
        }
    }

    // --- services ---

    private func dispatch() {
        do throws(RDMAError) {
            try events.dispatch(now: Clock.monotonicNanoseconds())
        } catch { core.log.error("event=relay_failed reason=\"\(error)\"") }
        while let asking = listener.next() {
            do throws(RDMAError) {
                try admit(asking)
            } catch {
                core.log.error("event=relay_refused reason=\"\(error)\"")
                try? asking.reject()
            }
        }
        for (number, link) in links where !link.isOpen { drop(number) }
    }

    /// The peer's holder, which only the service that was greeted so knows.
    private func admit(_ asking: Connection) throws(RDMAError) {
        let holder = ByteLayout.load(UInt64.self, from: asking.privateData)
        guard let holder, let peer = core.peer(holder: holder), peer.isRelayed else {
            core.log.warning("event=relay_refused reason=\"no service of that name\"")
            return try asking.reject()
        }
        let link = try RelayEnd(asking, domain, queue, holder: holder)
        try asking.accept(deadline: Clock.monotonicNanoseconds() + Self.acceptNanoseconds)
        links[link.number] = link
        core.log.notice("event=relay_connected holder=\(holder) pairs=\(links.count)")
    }

    private func drop(_ number: UInt32) {
        guard links.removeValue(forKey: number) != nil else { return }
        for (key, entry) in subscriptions where entry.link == number { unsubscribe(key) }
        core.log.notice("event=relay_disconnected pairs=\(links.count)")
    }

    /// The service is gone: nothing of its queue pairs goes on.
    func forget(holder: UInt64) {
        for (number, link) in links where link.holder == holder { drop(number) }
    }

    // --- messages ---

    private func poll() {
        // An entry that came before raises no event, so what is there is taken after it.
        queue.arm()
        while queue.poll(into: &batch) > 0 {
            for index in 0..<batch.count { take(batch[index]) }
        }
    }

    private func take(_ completion: WorkCompletion) {
        guard let link = links[completion.queuePair] else { return }
        let message = link.finish(completion)
        if !link.isOpen { return drop(link.number) }
        if let message { take(message, from: link) }
        for (key, entry) in subscriptions where entry.isOwed && entry.link == link.number {
            kicked(key)
        }
    }

    private func take(_ message: RelayMessage, from link: RelayEnd) {
        guard let peer = core.peer(holder: link.holder),
            let function = core.function(lease: message.lease, of: peer),
            function.lease?.number == message.lease
        else { return }
        if let face = function.face as? NVMeFace { return take(message, of: face, from: link) }
        guard let state = (function.face as? VirtioFace)?.state,
            state.queues.indices.contains(message.queue)
        else { return }
        let key = QueueKey(lease: message.lease, queue: message.queue)
        switch message.kind {
        case .interrupt:
            // One that comes after its queue's end means nothing.
            if subscriptions[key]?.link == link.number {
                interrupt(state.queues[message.queue].call)
            }
        case .attach: subscribe(key, state, to: link)
        case .kick: break
        }
    }

    /// Its interrupts go by vector; kicks are wanted by a service on another machine only.
    private func take(_ message: RelayMessage, of face: NVMeFace, from link: RelayEnd) {
        switch message.kind {
        case .interrupt: interrupt(face.call(ofVector: message.queue))
        case .attach:
            guard face.kicks.indices.contains(message.queue) else { return }
            let key = QueueKey(lease: message.lease, queue: message.queue)
            subscribe(key, to: link, kick: face.kicks[message.queue])
        case .kick: break
        }
    }

    func interrupt(_ call: SharedDescriptor?) {
        // A full counter is readable already, and a blocking one must not hold the loop.
        if let call, EventDescriptor.hasRoom(call.number) {
            EventDescriptor.signal(call.number)
        }
    }

    /// The service looks once after this: whatever was kicked before is seen.
    private func subscribe(_ key: QueueKey, _ state: VirtioFunctionState, to link: RelayEnd) {
        unsubscribe(key)
        let grant = state.queues[key.queue]
        var entry = Subscription(
            link: link.number, kick: listen(to: grant.kick, for: key),
            given: grant.kick.map { ObjectIdentifier($0) },
            call: grant.call.map { ObjectIdentifier($0) }, run: grant.run)
        if !grant.isRunning { entry.lapsed = state.generation }
        subscriptions[key] = entry
        kicked(key)
    }

    /// As above, for a queue that lives as long as its lease.
    private func subscribe(_ key: QueueKey, to link: RelayEnd, kick: SharedDescriptor) {
        unsubscribe(key)
        subscriptions[key] = Subscription(
            link: link.number, kick: listen(to: kick, for: key), given: nil, call: nil, run: 0)
        kicked(key)
    }

    private func listen(
        to kick: SharedDescriptor?, for key: QueueKey
    ) -> (copy: SharedDescriptor, token: UInt64)? {
        guard let kick else { return nil }
        do throws(SystemError) {
            let copy = SharedDescriptor(try kick.duplicate())
            let token = try core.context.add(copy.number, .edge) { [unowned self] in
                kicked(key)
            }
            return (copy, token)
        } catch {
            core.log.error("event=kick_unheard queue=\(key.queue) reason=\"\(error)\"")
            return nil
        }
    }

    /// What the service hears of next. Queues that stopped lapse. The host may have other eventfds
    /// for the others now: a new kick is listened to, a new call raised once.
    func follow(_ state: VirtioFunctionState, lease: UInt64) {
        for grant in state.queues {
            let key = QueueKey(lease: lease, queue: grant.index)
            guard let entry = subscriptions[key], entry.lapsed == nil else { continue }
            if !grant.isRunning || grant.run != entry.run {
                subscriptions[key]?.lapsed = state.generation
                continue
            }
            let call = grant.call.map { ObjectIdentifier($0) }
            let kick = grant.kick.map { ObjectIdentifier($0) }
            if entry.given == kick && entry.call == call { continue }
            guard let link = links[entry.link] else { continue }
            subscribe(key, state, to: link)
            interrupt(grant.call)
        }
    }

    private func unsubscribe(_ key: QueueKey) {
        guard let entry = subscriptions.removeValue(forKey: key) else { return }
        if let kick = entry.kick { core.context.remove(kick.copy.number, token: kick.token) }
    }

    private func kicked(_ key: QueueKey) {
        guard let entry = subscriptions[key], let link = links[entry.link] else { return }
        let isSent = link.send(RelayMessage(.kick, lease: key.lease, queue: key.queue))
        subscriptions[key]?.isOwed = !isSent
    }

    func leaseEnded(_ lease: UInt64) {
        for key in Array(subscriptions.keys) where key.lease == lease { unsubscribe(key) }
    }

    // --- keys ---

    /// The keys of a function's memory as `reach` says; made when they are not there, and none
    /// while no queue runs.
    func grants(
        of vuid: String, _ reach: HostReach, functionMemory: SharedDescriptor,
        doorbells: SharedDescriptor? = nil
    ) -> RemoteGrants {
        guard reach.isUsed else {
            keys[vuid]?.retire(at: reach.generation)
            return .none
        }
        if let present = keys[vuid]?.current, present.fits(reach, functionMemory) {
            return present.grants
        }
        do {
            let made = try HostKeys(domain, reach, functionMemory, doorbells: doorbells)
            keys[vuid, default: FunctionKeys()].use(made, at: reach.generation)
            return made.grants
        } catch {
            keys[vuid]?.retire(at: reach.generation)
            return RemoteGrants(refusal: "\(error)")
        }
    }

    /// The service has carried out everything up to state `generation` of a function that it
    /// drives by `lease`: keys of what is over end here, before the host hears that it is, and
    /// nothing that a stopped queue still says counts.
    func settle(_ vuid: String, lease: UInt64, _ generation: UInt64) {
        // What was said before the acknowledgement, on the other way.
        poll()
        for (key, entry) in subscriptions where key.lease == lease {
            if let lapsed = entry.lapsed, lapsed <= generation { unsubscribe(key) }
        }
        keys[vuid]?.settle(generation)
        if keys[vuid]?.isEmpty == true { keys[vuid] = nil }
    }

    /// Nobody drives the function: what a service still does with its keys does nothing.
    func endKeys(of vuid: String) { keys[vuid] = nil }
}
