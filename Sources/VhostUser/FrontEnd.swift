internal import CWire
internal import Memory
public import Platform

/// A vhost-user front end: what a VMM does, for tests and figures. Blocking; one thread.
public final class FrontEnd {
    /// One region of memory, offered whole.
    public struct Region {
        public var guestAddress: UInt64
        public var userAddress: UInt64
        public var byteCount: UInt64
        public var file: SharedDescriptor
        public var fileOffset: UInt64 = 0

        public init(
            guestAddress: UInt64, userAddress: UInt64, byteCount: UInt64, file: SharedDescriptor
        ) {
            self.guestAddress = guestAddress
            self.userAddress = userAddress
            self.byteCount = byteCount
            self.file = file
        }
    }

    /// One virtqueue to start. Ring addresses are in the front end's own space.
    public struct Queue {
        public var index: Int
        public var size: Int
        public var descriptorArea: UInt64
        public var driverArea: UInt64
        public var deviceArea: UInt64
        public var base: UInt32
        public var kick: SharedDescriptor
        public var call: SharedDescriptor

        public init(
            index: Int, size: Int, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64,
            base: UInt32, kick: SharedDescriptor, call: SharedDescriptor
        ) {
            self.index = index
            self.size = size
            self.descriptorArea = descriptorArea
            self.driverArea = driverArea
            self.deviceArea = deviceArea
            self.base = base
            self.kick = kick
            self.call = call
        }
    }

    private let socket: SharedDescriptor
    private var stream: VhostUserStream
    private let patienceMilliseconds: Int32
    public private(set) var deviceFeatures: UInt64 = 0
    public private(set) var protocolFeatures: VhostUserProtocolFeatures = []

    /// Connects to a back end's socket and learns what it offers.
    public init(path: String, patienceMilliseconds: Int32 = 10_000) throws(VhostUserError) {
        do {
            socket = SharedDescriptor(try UnixSocket.connect(to: path, .stream))
        } catch { throw VhostUserError("\(error)") }
        stream = VhostUserStream(socket: socket.number)
        self.patienceMilliseconds = patienceMilliseconds
        deviceFeatures = try number(.getFeatures)
        try send(.setOwner)
        if deviceFeatures & VhostUserFeature.protocolFeatures != 0 {
            let offered = VhostUserProtocolFeatures(rawValue: try number(.getProtocolFeatures))
            protocolFeatures = offered.intersection([
                .multiQueue, .logSharedMemory, .replyAcknowledge, .configuration, .resetDevice,
                .memorySlots, .status,
            ])
            try set(.setProtocolFeatures, protocolFeatures.rawValue)
        }
    }

    /// Most queues; 1 when the back end does not say.
    public func queueLimit() throws(VhostUserError) -> Int {
        protocolFeatures.contains(.multiQueue) ? Int(try number(.getQueueCount)) : 1
    }

    /// The device configuration space; zeros where the back end has none.
    public func configuration(byteCount: Int) throws(VhostUserError) -> [UInt8] {
        let header = vhost_user_configuration(offset: 0, size: UInt32(byteCount), flags: 0)
        let request =
            ByteLayout.bytes(of: header) + [UInt8](repeating: 0, count: byteCount)
        let reply = try call(VhostUserMessage(.getConfiguration, payload: request))
        return Array(reply.payload.dropFirst(MemoryLayout<vhost_user_configuration>.size))
    }

    public func setFeatures(_ features: UInt64) throws(VhostUserError) {
        let own = deviceFeatures & VhostUserFeature.protocolFeatures
        try set(.setFeatures, features | own)
    }

    public func setMemory(_ regions: [Region]) throws(VhostUserError) {
        var payload = ByteLayout.bytes(of: UInt32(regions.count)) + [0, 0, 0, 0]
        for region in regions {
            payload += ByteLayout.bytes(
                of: vhost_user_memory_region(
                    guest_address: region.guestAddress, size: region.byteCount,
                    user_address: region.userAddress, mmap_offset: region.fileOffset))
        }
        try send(.setMemoryTable, payload, regions.map(\.file))
    }

    /// Starts a queue, as QEMU does: size, base, addresses, call, kick, enable.
    public func start(_ queue: Queue) throws(VhostUserError) {
        try send(.setVringSize, state(queue.index, UInt32(queue.size)))
        try send(.setVringBase, state(queue.index, queue.base))
        try setAddresses(of: queue, logAddress: nil)
        let index = ByteLayout.bytes(of: UInt64(queue.index))
        try send(.setVringCall, index, [queue.call])
        try send(.setVringKick, index, [queue.kick])
        if deviceFeatures & VhostUserFeature.protocolFeatures != 0 {
            try send(.setVringEnable, state(queue.index, 1))
        }
    }

    /// Stops a queue; nothing of it is under way when this returns.
    /// - Returns: where it would go on.
    public func stop(queue index: Int) throws(VhostUserError) -> UInt32 {
        let reply = try call(VhostUserMessage(.getVringBase, payload: state(index, 0)))
        return try reply.structure(vhost_user_vring_state.self).number
    }

    public func setStatus(_ status: UInt8) throws(VhostUserError) {
        try set(.setStatus, UInt64(status))
    }

    // --- messages ---

    private func state(_ index: Int, _ number: UInt32) -> [UInt8] {
        ByteLayout.bytes(of: vhost_user_vring_state(index: UInt32(index), number: number))
    }

    private func set(_ request: VhostUserRequest, _ value: UInt64) throws(VhostUserError) {
        try send(request, ByteLayout.bytes(of: value))
    }

    private func number(_ request: VhostUserRequest) throws(VhostUserError) -> UInt64 {
        try call(VhostUserMessage(request)).structure(UInt64.self)
    }

    /// Sends a message without an answer of its own, and waits for the acknowledgement.
    public func send(
        _ request: VhostUserRequest, _ payload: [UInt8] = [], _ files: [SharedDescriptor] = []
    ) throws(VhostUserError) {
        let asks = protocolFeatures.contains(.replyAcknowledge)
        let message = VhostUserMessage(
            request, payload: payload, descriptors: files, needsReply: asks)
        if !asks { return try write(message) }
        let refusal = try call(message).structure(UInt64.self)
        if refusal != 0 { throw VhostUserError("\(request) was refused") }
    }

    /// Sends a message and waits for its answer.
    public func call(_ message: VhostUserMessage) throws(VhostUserError) -> VhostUserMessage {
        try write(message)
        while true {
            switch try stream.next() {
            case .message(let reply):
                guard reply.request == message.request else {
                    throw VhostUserError(
                        "answer to message \(reply.request) instead of \(message.request)")
                }
                return reply
            case .closed: throw VhostUserError("the back end has closed the connection")
            case .incomplete:
                let isThere = UnixSocket.waitReadable(
                    socket.number, milliseconds: patienceMilliseconds)
                if !isThere {
                    throw VhostUserError(
                        "no answer to message \(message.request) in \(patienceMilliseconds) ms")
                }
            }
        }
    }

    /// Sends a message as it is.
    public func write(_ message: VhostUserMessage) throws(VhostUserError) {
        let bytes = message.encoded()
        do {
            let sent = try UnixSocket.send(
                bytes[...], descriptors: message.descriptors.map(\.number), to: socket.number)
            if sent != bytes.count { throw SystemError("send", code: ErrorNumber.again) }
        } catch { throw VhostUserError("\(error)") }
    }
}
