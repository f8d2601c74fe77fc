internal import CWire
public import Hardware
internal import Memory
public import Platform

/// One front end's conversation with a virtio function: a state machine without a socket.
///
/// It turns messages into the function's state. Messages that take access away from the device are
/// answered only after the service has acknowledged the new state (design, "Reset rule");
/// meanwhile no further message of this front end is looked at.
public struct HostSession {
    /// What to do after a message.
    public enum Outcome {
        case nothing
        case reply(VhostUserMessage)
        /// Answer when the service has acknowledged generation `state.generation`.
        case wait(Pending)
    }

    /// An answer that waits for the service.
    public struct Pending {
        public let message: VhostUserMessage
        /// The queue whose position the answer carries; nil when it only says that it is done.
        public let queue: Int?
        /// The state that must have been acknowledged.
        public let generation: UInt64
    }

    public internal(set) var state: VirtioFunctionState
    public internal(set) var offer: VirtioOffer
    public internal(set) var deviceStatus: UInt8 = 0
    /// Socket for messages to the front end.
    public internal(set) var backendChannel: SharedDescriptor?
    var protocolFeatures: VhostUserProtocolFeatures = []
    var ownFeatures: UInt64 = 0
    var isEnabled: [Bool]
    var hasKick: [Bool]

    /// A fresh session: nothing of an earlier front end counts, its epoch is over.
    public init(offer: VirtioOffer, after previous: VirtioFunctionState) {
        self.offer = offer
        state = previous
        state.generation += 1
        state.epoch += 1
        state.memoryGeneration += 1
        state.driverFeatures = 0
        state.memory = []
        state.inflight = nil
        state.dirtyLog = nil
        state.isLogging = false
        state.logGeneration += 1
        state.queues = (0..<offer.queueCount).map { index in
            var queue = QueueGrant(index: index)
            // Another life of the ring, started or not: where the last one stopped is not its base.
            queue.run = index < previous.queues.count ? previous.queues[index].run + 1 : 0
            return queue
        }
        isEnabled = Array(repeating: false, count: offer.queueCount)
        hasKick = isEnabled
    }

    /// Takes one message. An error means that the connection must end.
    public mutating func handle(_ message: VhostUserMessage) throws(VhostUserError) -> Outcome {
        guard let request = VhostUserRequest(rawValue: message.request) else {
            throw VhostUserError("message \(message.request) is not supported")
        }
        let outcome = try perform(request, message)
        if case .nothing = outcome, acknowledges(message) {
            return .reply(message.reply(ByteLayout.bytes(of: UInt64(0))))
        }
        return outcome
    }

    /// The answer to a message that cannot be carried out, when the front end asked for one.
    public func refusal(of message: VhostUserMessage) -> VhostUserMessage? {
        acknowledges(message) ? message.reply(ByteLayout.bytes(of: UInt64(1))) : nil
    }

    /// The service has acknowledged: the answer that waited for it, if one is due.
    public func finish(_ pending: Pending) -> VhostUserMessage? {
        if let queue = pending.queue {
            let answer = vhost_user_vring_state(
                index: UInt32(queue), number: state.queues[queue].base)
            return pending.message.reply(ByteLayout.bytes(of: answer))
        }
        let isAlwaysAnswered =
            pending.message.request == VhostUserRequest.setLogBase.rawValue
        guard isAlwaysAnswered || acknowledges(pending.message) else { return nil }
        return pending.message.reply(ByteLayout.bytes(of: UInt64(0)))
    }

    /// Queues have stopped at these positions.
    public mutating func record(_ bases: [Int: UInt32]) {
        for (index, base) in bases where state.queues.indices.contains(index) {
            state.queues[index].base = base
        }
    }

    /// The controller has changed what it offers (configuration space).
    public mutating func update(configuration: [UInt8]) { offer.configuration = configuration }

    /// Another controller goes on with this session; it offers no less than the last one.
    public mutating func update(offer: VirtioOffer) { self.offer = offer }

    /// A queue has failed (Virtio 1.2 §2.1, DEVICE_NEEDS_RESET).
    public mutating func markNeedsReset() { deviceStatus |= 64 }

    private func acknowledges(_ message: VhostUserMessage) -> Bool {
        message.needsReply && protocolFeatures.contains(.replyAcknowledge)
    }

    private mutating func perform(
        _ request: VhostUserRequest, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        switch request {
        case .getFeatures:
            return number(driverOffer | transportOffer, for: message)
        case .setFeatures:
            return try setFeatures(try message.structure(UInt64.self), message)
        case .getProtocolFeatures:
            return number(VhostUserProtocolFeatures.all.rawValue, for: message)
        case .setProtocolFeatures:
            let wanted = VhostUserProtocolFeatures(rawValue: try message.structure(UInt64.self))
            guard wanted.isSubset(of: .all) else {
                throw VhostUserError("protocol features \(wanted.rawValue) were not offered")
            }
            protocolFeatures = wanted
        case .getQueueCount: return number(UInt64(offer.queueCount), for: message)
        case .getMemorySlotLimit: return number(UInt64(MemoryTable.slotLimit), for: message)
        case .setOwner: break
        case .resetOwner, .resetDevice: return reset(message)
        case .setStatus:
            let status = try message.structure(UInt64.self)
            deviceStatus = UInt8(truncatingIfNeeded: status)
            if status == 0 { return stopQueues(message) }
        case .getStatus: return number(UInt64(deviceStatus), for: message)
        case .getConfiguration: return try configuration(message)
        case .setConfiguration:
            throw VhostUserError("the configuration space of this function is read-only")
        case .setBackendChannel: try setBackendChannel(message)
        case .setMemoryTable, .addMemoryRegion, .removeMemoryRegion:
            return try changeMemory(request, message)
        case .setLogBase: return try setLogBase(message)
        case .setLogDescriptor:
            throw VhostUserError(
                "SET_LOG_FD is not supported: nothing is signalled when a page is marked; leave "
                    + "it out and read the log")
        case .getInflight: return try makeInflight(message)
        case .setInflight: try setInflight(message)
        case .setVringSize, .setVringAddress, .setVringBase, .getVringBase, .setVringKick,
            .setVringCall, .setVringError, .setVringEnable:
            return try changeQueue(request, message)
        }
        return .nothing
    }

    func number(_ value: UInt64, for message: VhostUserMessage) -> Outcome {
        .reply(message.reply(ByteLayout.bytes(of: value)))
    }

    /// The device's own features: bits of the transport mean something else here.
    private var driverOffer: UInt64 { offer.features & ~VhostUserFeature.transport }

    /// Without a log of pages a machine cannot be migrated while it runs.
    private var transportOffer: UInt64 {
        offer.logsPages
            ? VhostUserFeature.transport : VhostUserFeature.transport & ~VhostUserFeature.logAll
    }

    private mutating func setFeatures(
        _ features: UInt64, _ message: VhostUserMessage
    ) throws(VhostUserError) -> Outcome {
        let known = driverOffer | transportOffer
        guard features & ~known == 0 else {
            throw VhostUserError(
                "features 0x\(String(features & ~known, radix: 16)) were not offered")
        }
        ownFeatures = features
        state.driverFeatures = features & ~VhostUserFeature.transport
        state.generation += 1
        return try setLogging(features & VhostUserFeature.logAll != 0, message)
    }

    /// Status 0: the driver's reset, and for QEMU 7.2 any stop of the machine, before it asks where
    /// the queues stand. What is under way is answered, and positions are kept for GET_VRING_BASE.
    private mutating func stopQueues(_ message: VhostUserMessage) -> Outcome {
        state.generation += 1
        for index in state.queues.indices {
            state.queues[index].isRunning = false
            isEnabled[index] = false
            hasKick[index] = false
        }
        deviceStatus = 0
        return wait(for: message)
    }

    /// Stops every queue, raises the epoch and forgets positions.
    private mutating func reset(_ message: VhostUserMessage) -> Outcome {
        state.epoch += 1
        for index in state.queues.indices {
            state.queues[index].run += 1
            state.queues[index].base = 0
        }
        return stopQueues(message)
    }

    func wait(for message: VhostUserMessage, queue: Int? = nil) -> Outcome {
        .wait(
            Pending(
                message: message, queue: queue, generation: state.generation))
    }

    /// Configuration space, zeros past its end: front ends ask for more than a device has.
    private func configuration(_ message: VhostUserMessage) throws(VhostUserError) -> Outcome {
        let headerByteCount = MemoryLayout<vhost_user_configuration>.size
        guard
            let header = ByteLayout.load(vhost_user_configuration.self, from: message.payload),
            Int(header.size) <= 256, Int(header.offset) <= 256
        else { throw VhostUserError("GET_CONFIG asks for more than 256 bytes") }
        var space = offer.configuration
        let end = Int(header.offset) + Int(header.size)
        if space.count < end { space += Array(repeating: 0, count: end - space.count) }
        let reply =
            Array(message.payload.prefix(headerByteCount)) + space[Int(header.offset)..<end]
        return .reply(message.reply(reply))
    }

    private mutating func setBackendChannel(_ message: VhostUserMessage) throws(VhostUserError) {
        guard message.descriptors.count == 1, let channel = message.descriptors.first,
            channel.kindName.hasPrefix("socket:")
        else { throw VhostUserError("SET_BACKEND_REQ_FD without a socket") }
        backendChannel = channel
    }
}
