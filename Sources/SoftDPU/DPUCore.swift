internal import Card
internal import DeviceResources
internal import Firmware
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// The functions of a software DPU, the services that are connected, and the memory it keeps for
/// them. Confined to the DPU's loop; a single thread makes every change one transaction.
final class DPUCore {
    let inventory: Inventory
    /// Tells this DPU from others, in all its lives.
    var identity = UInt64.random(in: 1..<(1 << 53))
    let context: EventLoop.Context
    let log: Logger
    private let locks: [SharedLock]
    private let store: CardStore
    private(set) var card: Card
    private(set) var firmware: FirmwareConfiguration
    /// What the RDMA devices can really give, by name.
    private(set) var devices: [String: RDMADeviceResources] = [:]
    /// Functions that have had a controller, by VUID.
    var emulated: [String: EmulatedFunction] = [:]
    private var peers: [ObjectIdentifier: ControlPeer] = [:]
    private var peerCount = 0
    /// Where services of other machines connect.
    var remoteListener: (socket: SharedDescriptor, token: UInt64)?
    private var strangerThrottle = LogThrottle()
    var memoryFiles: [String: MemoryKeep] = [:]
    /// By number, unique over all functions: messages name leases by it alone.
    private var leases: [UInt64: EmulatedFunction] = [:]
    /// Number of the latest lease. Numbers go on where the last life of the DPU cannot have come
    /// to, at a million leases a second.
    var leaseCount = Clock.wallSeconds() << 20
    /// Services that a power cycle has cut off.
    var formerHolders: [UInt64] = []
    private var listener: SharedDescriptor?
    private var listenerToken: UInt64 = 0
    /// What outlives this process; nil when nothing does.
    let kept: KeptFiles?
    /// Tells this process's life from others'.
    let instance = UInt64.random(in: 1..<(1 << 60))
    private(set) var rootRecord: KeptRecord?
    var isRestoring = false
    /// Records that could not be read, and why.
    var refusedRecords: [String: JSONValue] = [:]
    var refusals: [String: String] = [:]
    /// The host's side of the RDMA data path; nil before a service has asked for it.
    var relay: Relay?
    /// By holder.
    var lifelines: [UInt64: Lifeline] = [:]

    init(
        _ inventory: Inventory, _ store: CardStore, _ boot: CardStore.Boot, locks: [SharedLock],
        kept: KeptState?, context: EventLoop.Context, log: Logger
    ) {
        self.inventory = inventory
        self.store = store
        self.locks = locks
        self.context = context
        self.log = log
        card = boot.card
        firmware = boot.firmware
        devices = Self.devices(inventory, boot.firmware)
        self.kept = kept?.files
        rootRecord = kept?.record
        kept?.files.attend(in: context)
        if let kept, let body = kept.body { restore(kept.record, body, in: kept.files) }
    }

    func shutDown() {
        defer { kept?.leave() }
        for peer in peers.values { peer.close() }
        for function in emulated.values { function.shutDown() }
        if let listener {
            context.remove(listener.number, token: listenerToken)
            try? FileSystem.remove(inventory.controlSocketPath)
        }
        if let remoteListener {
            context.remove(remoteListener.socket.number, token: remoteListener.token)
        }
    }

    // --- services ---

    func listen(on socket: SharedDescriptor) {
        listener = socket
        do {
            listenerToken = try context.add(socket.number) { [unowned self] in
                while let connection = try? UnixSocket.accept(socket.number) {
                    accept(SharedDescriptor(connection))
                }
            }
        } catch { log.error("event=control_listen_failed error=\"\(error)\"") }
    }

    func accept(_ socket: SharedDescriptor) { accept(PacketWire(socket)) }

    func accept(_ wire: any ControlWire) {
        // Unique over restarts of this DPU too: it names byte locks that a dead holder may keep.
        let holder = UInt64.random(in: 1..<(1 << 60))
        do {
            peerCount += 1
            let peer = try ControlPeer(wire, number: peerCount, holder: holder, core: self)
            peers[ObjectIdentifier(peer)] = peer
        } catch { log.error("event=service_refused error=\"\(error)\"") }
    }

    /// A service has connected again, before its last link was seen to end.
    func replacePeer(of holder: UInt64) {
        for peer in peers.values where peer.holder == holder {
            forget(peer, reason: "connected again")
        }
    }

    /// Whoever has not shown who it is, the first that came first.
    var strangers: [ControlPeer] {
        peers.values.filter { !$0.isProven }.sorted { $0.number < $1.number }
    }

    func peer(holder: UInt64) -> ControlPeer? { peers.values.first { $0.holder == holder } }

    /// The link to a service is over: its leases end where they stand.
    func forget(_ peer: ControlPeer, reason: String) {
        guard peers.removeValue(forKey: ObjectIdentifier(peer)) != nil else { return }
        peer.close()
        relay?.forget(holder: peer.holder)
        unwatch(peer.holder)
        commit()
        if peer.isProven || strangerThrottle.permits() {
            log.notice("event=service_gone holder=\(peer.holder) reason=\"\(reason)\"")
        }
        if peer.service == nil {
            for name in memoryFiles.keys { memoryFiles[name]?.users.remove(peer.claimant) }
        }
        for function in emulated.values {
            if function.standby?.peer === peer { function.dropStandby() }
            if function.lease?.peer === peer { function.abandon() }
        }
    }

    // --- functions ---

    /// Changes the card: all of what `change` does, or nothing.
    func change<T>(
        _ change: (inout Card) throws(HardwareError) -> T
    ) throws(HardwareError) -> T {
        var changed = card
        let result = try change(&changed)
        if changed.snapshot != card.snapshot { try store.save(changed) }
        card = changed
        return result
    }

    func setResources(_ resources: RDMADeviceResources, of device: String) {
        devices[device] = resources
    }

    /// Notes what has happened already: it cannot be refused, so a state that cannot be written is
    /// logged, and written with the next change.
    private func note(_ change: (inout Card) -> Void) {
        let before = card.snapshot
        change(&card)
        if card.snapshot == before { return }
        do {
            try store.save(card)
        } catch { log.error("event=card_not_saved reason=\"\(error)\"") }
    }

    func identity(_ vuid: String) throws(HardwareError) -> FunctionIdentity {
        try card.function(vuid).identity
    }

    func listing(of function: CardFunction) -> FunctionListing {
        var listing = card.listing(of: function)
        let emulated = emulated[function.identity.vuid]
        listing.hostSocketPath = emulated?.hostSocketPath
        listing.lastLease = emulated?.lastLease
        return listing
    }

    func listing(_ vuid: String) throws(HardwareError) -> FunctionListing {
        listing(of: try card.function(vuid))
    }

    /// Gives the serving lease of a function to `peer`: vectors, lease and socket, or nothing of
    /// them.
    /// - Parameter former: the lease that `peer` had over an earlier link. It goes on, when nobody
    ///   has had another since: what the service has written of it still holds.
    func open(
        _ vuid: String, _ offer: FunctionOffer, for peer: ControlPeer, again former: UInt64? = nil
    ) throws(HardwareError) -> EmulatedFunction.Grant {
        let identity = try identity(vuid)
        try checkRestored(vuid)
        guard identity.kind == offer.kind else {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) is no \(offer.kind == .nvme ? "NVMe" : "virtio-blk") function")
        }
        let function =
            emulated[vuid] ?? EmulatedFunction(vuid, core: self, after: formerHolders)
        if offer.standsBy, function.lease != nil {
            return try standBy(function, identity, offer, for: peer)
        }
        try function.checkFree(for: peer)
        try card.checkOpen(vuid, queueCount: offer.queueCount, vectors: offer.vectorCount)
        let isFirst = try peer.reserveQueuePairs()
        let grant: EmulatedFunction.Grant
        do throws(HardwareError) {
            if let vectors = offer.vectorCount {
                try change { (card) throws(HardwareError) in
                    try card.setVectors(vuid, count: vectors)
                }
            }
            let number = former == function.lastLease ? former : nil
            grant = try function.open(offer, for: peer, number: number ?? leaseCount + 1)
        } catch {
            if isFirst { peer.releaseQueuePairs() }
            // To as many as it had before, also none.
            note { $0.restoreVectors(vuid, count: identity.vectorCount) }
            throw error
        }
        emulated[vuid] = function
        leases[grant.lease] = function
        leaseCount += 1
        note { $0.setController(offer.controller, of: vuid) }
        function.commit()
        commit()
        return grant
    }

    /// Gives the standby lease of a function to `peer`. Its vectors stay as they are.
    private func standBy(
        _ function: EmulatedFunction, _ identity: FunctionIdentity, _ offer: FunctionOffer,
        for peer: ControlPeer
    ) throws(HardwareError) -> EmulatedFunction.Grant {
        try card.checkOpen(function.vuid, queueCount: offer.queueCount, vectors: nil)
        if let vectors = offer.vectorCount, vectors != identity.vectorCount {
            throw HardwareError(
                ErrorNumber.invalid,
                "vf_num_msix \(vectors): function \(function.vuid) is in use with "
                    + "\(identity.vectorCount) vectors; a listener takes it over with as many")
        }
        let isFirst = try peer.reserveQueuePairs()
        do throws(HardwareError) {
            let grant = try function.standBy(offer, for: peer, number: leaseCount + 1)
            leases[grant.lease] = function
            leaseCount += 1
            return grant
        } catch {
            if isFirst { peer.releaseQueuePairs() }
            throw error
        }
    }

    /// The service gives a lease back, with nothing of it under way. Vectors are released only if
    /// nobody drives the function next.
    func close(lease: UInt64, of peer: ControlPeer, releasesVectors: Bool) {
        guard let function = function(lease: lease, of: peer) else { return }
        if function.standby?.number == lease { return function.dropStandby() }
        function.close()
        if releasesVectors, function.lease == nil { note { $0.releaseVectors(function.vuid) } }
    }

    /// The function of a lease that `peer` has, serving or standing by.
    func function(lease: UInt64, of peer: ControlPeer) -> EmulatedFunction? {
        guard let function = leases[lease] else { return nil }
        if let serving = function.lease, serving.number == lease, serving.peer === peer {
            return function
        }
        if let standby = function.standby, standby.number == lease, standby.peer === peer {
            return function
        }
        return nil
    }

    /// A lease that stood by serves from now on.
    func leaseBegan(of function: EmulatedFunction, by controller: String) {
        note { $0.setController(controller, of: function.vuid) }
    }

    func standbyEnded(_ lease: UInt64) { leases[lease] = nil }

    /// A function's lease has ended, in whichever way.
    func leaseEnded(_ lease: UInt64, of function: EmulatedFunction) {
        leases[lease] = nil
        relay?.leaseEnded(lease)
        note { $0.setController(nil, of: function.vuid) }
    }

    func setController(_ name: String?, of vuid: String) {
        note { $0.setController(name, of: vuid) }
    }

    func removeEmulated(_ vuid: String) -> EmulatedFunction? {
        defer { commit() }
        return emulated.removeValue(forKey: vuid)
    }

    /// A new card in the place of the old one. Services that were connected are gone with it, but
    /// what they have under way in their files is not: every function waits for them.
    func restart() throws(HardwareError) {
        let boot = try store.coldBoot()
        formerHolders += peers.values.map(\.holder)
        formerHolders += emulated.values.compactMap { $0.orphan?.holder }
        for function in emulated.values { function.shutDown() }
        emulated = [:]
        leases = [:]
        memoryFiles = [:]
        refusedRecords = [:]
        refusals = [:]
        defer { commit() }
        for peer in peers.values where !peer.isOperator { forget(peer, reason: "power cycle") }
        card = boot.card
        firmware = boot.firmware
        devices = Self.devices(inventory, boot.firmware)
    }

    private static func devices(
        _ inventory: Inventory, _ firmware: FirmwareConfiguration
    ) -> [String: RDMADeviceResources] {
        let all = RDMADevice.all(pageSize: inventory.pageSize) { port in
            firmware.subfunctionBARKiB(of: CardPort(rawValue: port) ?? .first)
        }
        return Dictionary(uniqueKeysWithValues: all.map { ($0.name, RDMADeviceResources($0)) })
    }

    /// What the card keeps knows nothing of drivers: there is nothing to save.
    func machineDriver(of vuid: String, isRunning: Bool) {
        card.machineDriver(of: vuid, isRunning: isRunning)
    }

    func hostConnected(_ vuid: String) { note { $0.hostConnected(vuid) } }
    func hostLeft(_ vuid: String) { note { $0.hostLeft(vuid) } }

    // --- memory that outlives services ---

    /// A memory file, and the services that use it under its name. One with a name of its own is
    /// still a user when it has died: it may come back for its bytes.
    struct MemoryKeep {
        let file: SharedDescriptor
        var users: Set<String>
    }

    func memoryFile(
        _ name: String, byteCount: UInt64, for peer: ControlPeer
    ) throws(HardwareError) -> SharedDescriptor {
        if let kept = memoryFiles[name] {
            guard kept.file.sharedMemoryByteCount == byteCount else {
                throw HardwareError(
                    ErrorNumber.invalid,
                    "memory \(name) is kept with \(kept.file.sharedMemoryByteCount ?? 0) bytes, "
                        + "not \(byteCount); delete the bdev that made it first")
            }
            memoryFiles[name]?.users.insert(peer.claimant)
            commit()
            return kept.file
        }
        do {
            let file = SharedDescriptor(try MemoryFile.create(name: name, byteCount: byteCount))
            memoryFiles[name] = MemoryKeep(file: file, users: [peer.claimant])
            commit()
            return file
        } catch { throw HardwareError(error.code, "memory \(name): \(error)") }
    }

    /// Gives a memory file up for `peer`. It ends with its last user: one of two services deletes
    /// its bdev after a hand-over, and the other goes on with the bytes.
    func deleteMemoryFile(_ name: String, for peer: ControlPeer) {
        memoryFiles[name]?.users.remove(peer.claimant)
        if memoryFiles[name]?.users.isEmpty == true { memoryFiles[name] = nil }
        commit()
    }
}
