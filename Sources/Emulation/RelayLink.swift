internal import Bounded
internal import Hardware
internal import Memory
internal import Platform
internal import RDMA
internal import Reactor
internal import VirtioBlk

/// A reactor's way to host memory by RDMA: one queue pair and one staging area for all its queues,
/// however many there are. Confined to its reactor.
///
/// A connection that ends is made again. Queues that have something under way on it are told first,
/// then their transfers end, then the queue pair goes; queues that have nothing notice nothing.
final class RelayLink: Poller, HostChannel {
    static let sendDepth = 512
    static let receiveDepth = 256
    static let queueLimit = 1024
    private static let areaByteCount = 16 << 20
    private static let chunkCount = 256
    static let stagingByteCount = areaByteCount + chunkCount * StagingArea.chunkByteCount
    private static let retryNanoseconds: UInt64 = 20_000_000
    private static let connectNanoseconds: UInt64 = 2_000_000_000
    private static let lookNanoseconds: UInt64 = 5_000_000
    /// A device that works ends what is under way of a failed queue pair much faster.
    private static let endNanoseconds: UInt64 = 1_000_000_000

    private struct Client {
        let lease: UInt64
        let queue: Int
        unowned let target: any KickListener
        /// Whether the relay kicks it.
        let isRelayed: Bool
        /// Whether the host's side has been asked, on this connection, for the queue's kicks. Only
        /// then the queue's transfers begin.
        var isAttached = false
    }

    /// A connection and what is used over it.
    enum State {
        case down(retry: Ticks)
        case connecting(Connection)
        case up(Connection, QueuePair, VerbsChannel)
        /// It has failed, and its transfers end.
        case ending(Connection, QueuePair, VerbsChannel, limit: Ticks)
    }

    let staging: StagingArea
    let device: VerbsDevice
    private let domain: ProtectionDomain
    private let region: MemoryRegion
    private let queue: CompletionQueue
    private let events: EventChannel
    private let place: @Sendable () -> RelayPlace?
    /// Messages that come, then one for each queue that says where it is.
    private let messages: StagingArea.Part
    private(set) var state = State.down(retry: Ticks(0))
    private var isBroken = false
    /// While it connects or ends: when to look again.
    private var nextLook = Ticks(0)
    /// Whether the connection manager may have something to say.
    private var isToldOf = true
    private var clients: [Client?] = []
    private var detachedCount = 0
    let ledger = TransferLedger(limit: queueLimit)
    /// Of connections that have ended.
    private(set) var past = Price()
    private var batch = RDMA.CompletionBatch(capacity: 64)
    private var ends = BoundedArray<VerbsChannel.End>(capacity: sendDepth)

    /// - Parameter place: of the host's side, as it is now; nil while it is not known.
    init(
        _ device: VerbsDevice, place: @escaping @Sendable () -> RelayPlace?
    ) throws(RDMAError) {
        self.device = device
        self.place = place
        domain = try ProtectionDomain(device)
        queue = try CompletionQueue(device, capacity: Self.sendDepth + Self.receiveDepth)
        events = try EventChannel()
        let byteCount = Self.stagingByteCount
        let mapping: Mapping
        do throws(SystemError) {
            let file = try MemoryFile.create(name: "staging", byteCount: UInt64(byteCount))
            mapping = try Mapping(file.number, byteCount: byteCount)
        } catch { throw .system(error) }
        region = try MemoryRegion(domain, mapping, byteCount: byteCount)
        staging = StagingArea(mapping, chunkCount: Self.chunkCount, owner: region)
        let count = Self.receiveDepth + Self.queueLimit
        guard let part = staging.takePart(byteCount: count * RelayMessage.byteCount) else {
            preconditionFailure("the area is larger than that")
        }
        messages = part
        queue.arm()
    }

    /// Puts the reactor of `context` on the RDMA data path.
    static func open(
        _ device: VerbsDevice, in context: ReactorContext,
        place: @escaping @Sendable () -> RelayPlace?
    ) throws(RDMAError) {
        let link = try RelayLink(device, place: place)
        do throws(SystemError) {
            _ = try context.add(link)
            try context.watch(link.events.descriptor)
        } catch { throw .system(error) }
        _ = context.attachment(RelayLink.self) { link }
    }

    // --- queues ---

    /// A number for the queue that comes next; nil when there are too many.
    func reserve() -> UInt32? { ledger.nextNumber }

    func add(_ target: MirroredQueue, number: UInt32, lease: UInt64, queue: Int) {
        add(
            target, number,
            Client(lease: lease, queue: queue, target: target, isRelayed: true))
        detachedCount += 1
        attach()
    }

    /// - Parameter relayed: the queue whose kicks the relay sends; nil for one whose kicks come
    ///   without it.
    func add(
        _ client: any TransferClient, of target: any KickListener, number: UInt32, lease: UInt64,
        relayed queue: Int? = nil
    ) {
        add(
            client, number,
            Client(
                lease: lease, queue: queue ?? 0, target: target, isRelayed: queue != nil,
                isAttached: queue == nil))
        guard queue != nil else { return }
        detachedCount += 1
        attach()
    }

    private func add(_ target: any TransferClient, _ number: UInt32, _ client: Client) {
        ledger.add(target, number: number)
        if Int(number) == clients.count { clients.append(nil) }
        clients[Int(number)] = client
    }

    /// Nothing of the queue is under way.
    func remove(_ number: UInt32) {
        ledger.remove(number)
        if clients[Int(number)]?.isAttached == false { detachedCount -= 1 }
        clients[Int(number)] = nil
    }

    /// Has the host's side send the kicks of all queues here, as far as there is room; it sends one
    /// for each at once.
    private func attach() {
        guard case .up(_, _, let channel) = state, !isBroken else { return }
        for number in clients.indices where detachedCount > 0 {
            guard let client = clients[number], !client.isAttached else { continue }
            let message = RelayMessage(.attach, lease: client.lease, queue: client.queue)
            let cell = self.message(Self.receiveDepth + number)
            cell.store(bytes: message.encoded)
            let tag = TransferLedger.tag(.max, 0)
            if !channel.notify(region.segment(cell), tag: tag) { break }
            clients[number]?.isAttached = true
            detachedCount -= 1
        }
        if !channel.submit() { isBroken = true }
    }

    private func message(_ index: Int) -> HostSegment {
        messages.bytes.part(
            at: index * RelayMessage.byteCount, byteCount: RelayMessage.byteCount
        ).segment
    }

    /// Whether transfers can be given: a queue whose kicks nobody hears yet gives none.
    var isOpen: Bool {
        if case .up = state { return !isBroken && detachedCount == 0 }
        return false
    }

    // --- transfers ---

    func submit(_ batch: borrowing TransferBatch, for number: UInt32) -> Int {
        guard isOpen, case .up(_, _, let channel) = state else { return 0 }
        var taken = 0
        while taken < batch.count {
            let transfer = batch[taken]
            let tag = TransferLedger.tag(number, transfer.tag)
            let local = region.segment(transfer.local)
            let isTaken =
                switch transfer.kind {
                case .read: channel.read(transfer.remote, into: local, tag: tag)
                case .write: channel.write(local, to: transfer.remote, tag: tag)
                case .message: channel.notify(local, tag: tag)
                }
            if !isTaken { break }
            taken &+= 1
        }
        if taken == 0 { return 0 }
        ledger.begin(taken, for: number)
        if !channel.submit() { isBroken = true }
        return taken
    }

    // --- turns ---

    func poll(now: Ticks) -> Int {
        switch state {
        case .down(let retry):
            if now >= retry { connect(now: now) }
            return 0
        case .connecting(let connection):
            nextLook = now.advanced(by: Ticks.from(nanoseconds: Self.lookNanoseconds))
            listen()
            goOn(connection, now: now)
            if case .up = state { return 1 }
            return 0
        case .up(let connection, let pair, let channel):
            let done = take(pair, channel)
            if isToldOf {
                isToldOf = false
                listen()
            }
            if case .closed = connection.state { isBroken = true }
            if isBroken || channel.failure != nil || queue.isDead {
                fail(connection, pair, channel, now: now)
            } else if detachedCount > 0 {
                attach()
            }
            return done
        case .ending:
            let (done, isOver) = takeLast(now: now)
            if isOver { breakDown(now: now) }
            return done
        }
    }

    /// Takes ends of a queue pair that has failed.
    /// - Returns: how many, and whether nothing more is to come. Nothing here holds the queue pair
    ///   any more then but `state`.
    private func takeLast(now: Ticks) -> (Int, isOver: Bool) {
        guard case .ending(_, let pair, let channel, let limit) = state else { return (0, true) }
        nextLook = now.advanced(by: Ticks.from(nanoseconds: Self.lookNanoseconds))
        let done = take(pair, channel)
        return (done, pair.outstanding == 0 || queue.isDead || now >= limit)
    }

    private func take(_ pair: QueuePair, _ channel: VerbsChannel) -> Int {
        let count = queue.poll(into: &batch)
        for index in 0..<count {
            let completion = batch[index]
            // Of a queue pair that has ended.
            if completion.queuePair != pair.number { continue }
            if completion.isReceive {
                receive(completion, pair)
            } else {
                channel.finish(completion, into: &ends)
                deliver()
            }
        }
        return count
    }

    private func deliver() {
        for index in 0..<ends.count {
            ledger.end(ends[index].tag, isWell: ends[index].status == .success)
        }
        ends.removeAll()
    }

    private func receive(_ completion: WorkCompletion, _ pair: QueuePair) {
        guard let ended = pair.retire(completion) else { return }
        if completion.status != .success {
            isBroken = true
            return
        }
        let cell = message(Int(ended.tag))
        if let message = RelayMessage(cell), message.kind == .kick {
            for client in clients {
                guard let client, client.isRelayed, client.queue == message.queue,
                    client.lease == message.lease
                else { continue }
                client.target.kick()
            }
        }
        if case .ending = state { return }
        _ = pair.prepareReceive(into: region.segment(cell), tag: ended.tag)
        if pair.post() != 0 { isBroken = true }
    }

    // --- the connection ---

    private func listen() {
        // What it says of connections is in their states.
        try? events.dispatch(now: Clock.monotonicNanoseconds())
    }

    private func connect(now: Ticks) {
        state = .down(retry: now.advanced(by: Ticks.from(nanoseconds: Self.retryNanoseconds)))
        guard let place = place() else { return }
        let time = Clock.monotonicNanoseconds()
        do throws(RDMAError) {
            state = .connecting(
                try Connection(
                    on: events, to: RDMAEndpoint(place.address, port: place.port), now: time,
                    deadline: time + Self.connectNanoseconds))
        } catch {}  // Again at the next time.
    }

    private func goOn(_ connection: Connection, now: Ticks) {
        do throws(RDMAError) {
            switch connection.state {
            case .resolved:
                guard let place = place() else { return breakDown(now: now) }
                try prepare(connection)
                try connection.connect(
                    privateData: ByteLayout.bytes(of: place.holder),
                    deadline: Clock.monotonicNanoseconds() + Self.connectNanoseconds)
            case .established:
                guard let pair = connection.queuePair else { return }
                state = .up(connection, pair, VerbsChannel(pair))
                attach()
            case .closed: breakDown(now: now)
            case .resolvingAddress, .resolvingRoute, .requested, .connecting: break
            }
        } catch { breakDown(now: now) }
    }

    private func prepare(_ connection: Connection) throws(RDMAError) {
        let pair = try QueuePair(
            domain, sends: queue, receives: queue,
            QueuePair.Shape(
                sendDepth: Self.sendDepth, receiveDepth: Self.receiveDepth, inlineByteCount: 64))
        connection.waitsForReceives = true
        try connection.attach(pair)
        for index in 0..<Self.receiveDepth {
            _ = pair.prepareReceive(into: region.segment(message(index)), tag: UInt64(index))
        }
        if pair.post() != 0 { throw .outOfOrder(step: "post receives", connection.state) }
    }

    /// Ends what is under way: those whose it is are told before.
    private func fail(
        _ connection: Connection, _ pair: QueuePair, _ channel: VerbsChannel, now: Ticks
    ) {
        past.add(pair, channel)
        ledger.fail()
        // Fails the queue pair: the device gives back all that it was given.
        connection.close()
        nextLook = now
        state = .ending(
            connection, pair, channel,
            limit: now.advanced(by: Ticks.from(nanoseconds: Self.endNanoseconds)))
    }

    /// Lets go of the connection. Once its queue pair is gone, nothing of it reaches the staging
    /// area: what a broken device has not ended ends now.
    private func breakDown(now: Ticks) {
        state = .down(retry: now.advanced(by: Ticks.from(nanoseconds: Self.retryNanoseconds)))
        isBroken = false
        isToldOf = true
        while queue.poll(into: &batch) > 0 {}
        ledger.abandon()
        detachedCount = 0
        for number in clients.indices where clients[number]?.isRelayed == true {
            clients[number]?.isAttached = false
            detachedCount += 1
        }
    }

    // --- sleeping ---

    var isWaiting: Bool { false }

    func arm() -> Rest {
        queue.arm()
        // An entry that came before raises no event.
        return poll(now: .now()) > 0 ? .working : .waiting
    }

    func disarm() {
        queue.takeEvents()
        isToldOf = true
    }

    var wakeTime: Ticks? {
        switch state {
        case .down(let retry): retry
        case .connecting, .ending: nextLook
        case .up: nil
        }
    }

    var kickDescriptor: Int32? { queue.descriptor }
}
