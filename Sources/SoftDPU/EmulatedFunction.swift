internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// One emulated function: it outlives the services that drive it.
///
/// Who drives it, and what waits for them; how it looks to its host is its face's.
final class EmulatedFunction {
    /// The right of one service to drive the function.
    struct Lease {
        let number: UInt64
        let controller: String
        let peer: ControlPeer
        /// Latest state that the service has carried out.
        var acknowledged: UInt64 = 0
    }

    /// The right of another service to drive it next.
    struct Standby {
        let number: UInt64
        let offer: FunctionOffer
        let peer: ControlPeer
        /// Why it cannot take the function yet.
        var obstacle: String?
    }

    /// What an opened lease comes with.
    struct Grant {
        var lease: UInt64
        var predecessors: [UInt64]
        /// Function memory first.
        var files: [SharedDescriptor]
        /// What the service should know besides.
        var details: JSONObject = [:]
    }

    let vuid: String
    unowned let core: DPUCore
    private(set) var lease: Lease?
    /// Number of the latest lease, also when it has ended.
    var lastLease: UInt64?
    var standby: Standby?
    /// Whether the holder has stopped and waits for a standby lease to take the function.
    var isOffered = false
    var face: (any HostFace)?
    /// Holders that did not close their lease: their requests may be under way.
    var predecessors: [UInt64] = []
    /// Resets that wait for the service, with the state that ends each.
    private var waiters: [(generation: UInt64, done: () -> Void)] = []
    /// The lease as another process of this DPU gave it: its service may still be at work.
    var orphan: Orphan?
    /// What the keeper knows of the function; nil without a keeper.
    var record: KeptRecord?
    var journal: HostJournal?
    /// The last answer, when it has descriptors.
    var answer: HostAnswer?

    init(_ vuid: String, core: DPUCore, after predecessors: [UInt64]) {
        self.vuid = vuid
        self.core = core
        self.predecessors = predecessors
    }

    private var isHoldingNews = false
    private var hasNews = false

    /// Whether a service may have something of the function under way.
    var isDriven: Bool { lease != nil || orphan != nil }

    var hostSocketPath: String? { face?.hostSocketPath }

    /// Why no host may connect now; nil when one may.
    var closedReason: String? {
        guard let function = try? core.card.function(vuid) else { return "gone" }
        if function.isVisible && core.card.isHostOn { return nil }
        return core.card.isHostOn ? "not_visible" : "host_off"
    }

    // --- leases ---

    /// EBUSY: a controller has the lease, or may come back for it.
    func checkFree(for peer: ControlPeer) throws(HardwareError) {
        if let orphan, orphan.holder != peer.holder {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is driven by controller \"\(orphan.controller)\" of a service "
                    + "that has yet to connect again; end that service first")
        }
        if let lease {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is driven by controller \"\(lease.controller)\";"
                    + " destroy that controller first, or take it over with live_update_listener")
        }
    }

    /// Gives the serving lease to `peer`.
    func open(
        _ offer: FunctionOffer, for peer: ControlPeer, number: UInt64
    ) throws(HardwareError) -> Grant {
        let face: any HostFace
        if let present = self.face { face = present } else { face = try makeFace(offer.kind) }
        try face.check(offer)
        let files = try face.adopt(offer)
        self.face = face
        orphan = nil
        begin(Lease(number: number, controller: offer.controller, peer: peer))
        // What a service has under way itself, it has waited for.
        return grant(number, offer, files, after: predecessors.filter { $0 != peer.holder })
    }

    func begin(_ new: Lease) {
        lease = new
        lastLease = new.number
        CrashPoint.leaseBegun.reached()
        core.log.notice("event=lease_opened function=\(vuid) controller=\(new.controller)")
    }

    func grant(
        _ number: UInt64, _ offer: FunctionOffer, _ files: [SharedDescriptor],
        after predecessors: [UInt64]
    ) -> Grant {
        var grant = Grant(lease: number, predecessors: predecessors, files: files)
        if case .nvme = offer {
            grant.details = ["doorbells": .string(core.inventory.doorbellMode(of: vuid).rawValue)]
        }
        return grant
    }

    private func makeFace(_ kind: FunctionIdentity.Kind) throws(HardwareError) -> any HostFace {
        switch kind {
        case .virtioBlk: try VirtioFace(self, core: core)
        case .nvme: try NVMeFace(self, core: core)
        }
    }

    /// The service is done with the function: nothing of it is under way. Who stands by is next.
    func close() {
        guard lease != nil else { return }
        predecessors = []
        endLease()
        promoteStandby()
    }

    /// The service is gone; what it had under way may not be. Who stands by is next.
    func abandon() {
        guard let lease else { return }
        predecessors.append(lease.peer.holder)
        endLease()
        promoteStandby()
    }

    /// What a lease of this function may do now.
    func standing(of number: UInt64) -> LeaseStanding {
        standby?.number == number ? .standby : .serving(after: predecessors)
    }

    func endLease() {
        guard let ended = lease else { return }
        lease = nil
        isOffered = false
        core.leaseEnded(ended.number, of: self)
        core.log.notice("event=lease_ended function=\(vuid)")
        face?.leaseEnded()
        settleWaiters()
        commit()
        CrashPoint.leaseEnded.reached()
    }

    // --- between host and service ---

    /// Shows the present state to whoever drives the function.
    func publish() {
        if isHoldingNews {
            hasNews = true
            return
        }
        core.machineDriver(of: vuid, isRunning: face?.isDriverRunning ?? false)
        if let lease { face?.send(to: lease.peer, lease: lease.number) }
        if let standby { face?.send(to: standby.peer, lease: standby.number) }
    }

    /// Holds news back until `body`, which records them, is over: a service never knows of a state
    /// that a successor of this process might not.
    func holdingNews(_ body: () throws(HostReadError) -> HostRead) throws(HostReadError) -> HostRead
    {
        isHoldingNews = true
        defer {
            isHoldingNews = false
            if hasNews {
                hasNews = false
                publish()
            }
        }
        return try body()
    }

    /// A service's message about its lease. One that stands by has nothing to say.
    func take(_ notice: String, _ body: JSONValue) {
        guard let lease, body.unsigned("lease") == lease.number else { return }
        guard notice == "acknowledge" else {
            face?.take(notice, body)
            return commit()
        }
        self.lease?.acknowledged = body.unsigned("generation") ?? 0
        // The first one of a lease says that predecessors have been waited for.
        predecessors = []
        // Keys end before anybody hears that access has ended.
        face?.acknowledged(body)
        settleWaiters()
        commit()
    }

    /// Takes the function away from its host. `done` is called when nothing of it can reach host
    /// memory (design, "Reset rule").
    func reset(_ reason: String, then done: @escaping () -> Void) {
        face?.reset(reason: reason)
        commit()
        waiters.append((face?.generation ?? 0, done))
        settleWaiters()
    }

    func settleWaiters() {
        let reached = lease?.acknowledged ?? (orphan == nil ? .max : 0)
        let ready = waiters.filter { $0.generation <= reached }
        waiters.removeAll { $0.generation <= reached }
        for waiter in ready { waiter.done() }
    }

    func shutDown() {
        face?.shutDown()
        record?.forget()
        record = nil
    }

}
