public import Hardware
internal import Memory
public import Platform

/// A session on its way from one process to the next.
extension HostSession {
    /// The whole of a session, as plain data.
    public struct Snapshot: Sendable {
        public var state: VirtioFunctionState
        public var offer: VirtioOffer
        public var deviceStatus: UInt8
        public var backendChannel: SharedDescriptor?
        public var protocolFeatures: UInt64
        /// As the front end has acknowledged them, those of the transport included.
        public var features: UInt64
        /// By queue.
        public var isEnabled: [Bool]
        public var hasKick: [Bool]

        public init(
            state: VirtioFunctionState, offer: VirtioOffer, deviceStatus: UInt8,
            backendChannel: SharedDescriptor?, protocolFeatures: UInt64, features: UInt64,
            isEnabled: [Bool], hasKick: [Bool]
        ) {
            self.state = state
            self.offer = offer
            self.deviceStatus = deviceStatus
            self.backendChannel = backendChannel
            self.protocolFeatures = protocolFeatures
            self.features = features
            self.isEnabled = isEnabled
            self.hasKick = hasKick
        }
    }

    public var snapshot: Snapshot {
        Snapshot(
            state: state, offer: offer, deviceStatus: deviceStatus, backendChannel: backendChannel,
            protocolFeatures: protocolFeatures.rawValue, features: ownFeatures,
            isEnabled: isEnabled, hasKick: hasKick)
    }

    /// Goes on with a session of another process, which is a stranger's word.
    public init(_ snapshot: Snapshot) throws(VhostUserError) {
        let count = snapshot.offer.queueCount
        guard snapshot.state.queues.count == count, snapshot.isEnabled.count == count,
            snapshot.hasKick.count == count
        else {
            throw VhostUserError(
                "session of \(snapshot.state.queues.count) queues; its offer has \(count)")
        }
        guard
            VhostUserProtocolFeatures(rawValue: snapshot.protocolFeatures).isSubset(of: .all),
            snapshot.features & ~(snapshot.offer.features | VhostUserFeature.transport) == 0
        else { throw VhostUserError("session with features that were never offered") }
        for queue in snapshot.state.queues where queue.size > snapshot.offer.queueSize {
            throw VhostUserError("session with a queue of \(queue.size) entries")
        }
        for file in snapshot.state.queues.flatMap({ [$0.kick, $0.call] }) {
            if let file, !file.isEvent {
                throw VhostUserError("session with \(file.kindName) for an eventfd")
            }
        }
        if let log = snapshot.state.dirtyLog { try Self.check(kept: log) }
        for grant in snapshot.state.memory { try MemoryTable.check(kept: grant) }
        _ = try MemoryTable.check(snapshot.state.memory)
        state = snapshot.state
        offer = snapshot.offer
        deviceStatus = snapshot.deviceStatus
        backendChannel = snapshot.backendChannel
        protocolFeatures = VhostUserProtocolFeatures(rawValue: snapshot.protocolFeatures)
        ownFeatures = snapshot.features
        isEnabled = snapshot.isEnabled
        hasKick = snapshot.hasKick
    }
}

extension HostSession.Pending {
    public init(request: UInt32, needsReply: Bool, queue: Int?, generation: UInt64) {
        self.init(
            message: VhostUserMessage(request, needsReply: needsReply), queue: queue,
            generation: generation)
    }
}
