internal import Hardware
internal import Memory
internal import Platform
internal import RDMA

/// The host's end of one reactor's queue pair. Confined to the DPU's loop.
final class RelayEnd {
    static let sendDepth = 64
    static let receiveDepth = 256

    let holder: UInt64
    private let connection: Connection
    private let pair: QueuePair
    /// Messages that come, then messages that go.
    private let memory: MemoryRegion
    private let bytes: SharedBytes
    private var sent = 0
    private var hasFailed = false

    /// Prepares `asking` for its peer; it has yet to be accepted.
    init(
        _ asking: Connection, _ domain: ProtectionDomain, _ queue: CompletionQueue,
        holder: UInt64
    ) throws(RDMAError) {
        self.holder = holder
        connection = asking
        pair = try QueuePair(
            domain, sends: queue, receives: queue,
            QueuePair.Shape(
                sendDepth: Self.sendDepth, receiveDepth: Self.receiveDepth,
                inlineByteCount: RelayMessage.byteCount))
        let byteCount = (Self.sendDepth + Self.receiveDepth) * RelayMessage.byteCount
        let mapping: Mapping
        do throws(SystemError) {
            let file = try MemoryFile.create(name: "relay", byteCount: UInt64(byteCount))
            mapping = try Mapping(file.number, byteCount: byteCount)
        } catch { throw .system(error) }
        memory = try MemoryRegion(domain, mapping, byteCount: byteCount)
        bytes = mapping.bytes
        asking.waitsForReceives = true
        try asking.attach(pair)
        for index in 0..<Self.receiveDepth { prepareReceive(index) }
        if pair.post() != 0 { hasFailed = true }
    }

    var number: UInt32 { pair.number }
    var isOpen: Bool {
        if hasFailed { return false }
        if case .closed = connection.state { return false }
        return true
    }

    private func prepareReceive(_ index: Int) {
        let place = memory.part(
            at: index * RelayMessage.byteCount, byteCount: RelayMessage.byteCount)
        _ = pair.prepareReceive(into: place, tag: UInt64(index))
    }

    /// Takes the end of a request.
    /// - Returns: the message that came with it.
    func finish(_ completion: WorkCompletion) -> RelayMessage? {
        guard let ended = pair.retire(completion) else { return nil }
        if completion.status != .success {
            hasFailed = true
            return nil
        }
        guard completion.isReceive else { return nil }
        let index = Int(ended.tag)
        let place = bytes.part(
            at: index * RelayMessage.byteCount, byteCount: RelayMessage.byteCount)
        let message = RelayMessage(place.segment)
        prepareReceive(index)
        if pair.post() != 0 { hasFailed = true }
        return message
    }

    /// - Returns: false when there is no room; after the end of a request there is.
    func send(_ message: RelayMessage) -> Bool {
        guard pair.freeSends > 0 else { return false }
        // Sends end in their order: the place of the oldest is free.
        let index = Self.receiveDepth + sent % Self.sendDepth
        sent += 1
        let offset = index * RelayMessage.byteCount
        bytes.part(at: offset, byteCount: RelayMessage.byteCount).segment.store(
            bytes: message.encoded)
        _ = pair.prepareSend(
            memory.part(at: offset, byteCount: RelayMessage.byteCount), tag: 0)
        if pair.post() != 0 { hasFailed = true }
        return true
    }
}
