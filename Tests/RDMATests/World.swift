import Memory
import Platform
import RDMA
import Testing

/// The device that these tests use: the machine's first.
enum TestDevice {
    static let name = VerbsDevice.names.first
    static let isThere = name != nil
    static let reason: Comment = """
        this machine has no RDMA device; Tests/EndToEnd/test_rdma_guest.py runs this in a guest
        """

    static func open() throws -> VerbsDevice { try VerbsDevice(#require(name)) }
}

/// Both ends of connections over one device, in one thread, on one completion queue.
final class World {
    static let second: UInt64 = 1_000_000_000
    let device: VerbsDevice
    let domain: ProtectionDomain
    let queue: CompletionQueue
    let channel: EventChannel
    let listener: Listener
    private let sleeper: Epoll
    private var batch = CompletionBatch(capacity: 16)

    /// Listens at `port`, or at one that no other world has.
    init(entries: Int = 1024, backlog: Int = 8, port: UInt16? = nil) throws {
        device = try TestDevice.open()
        domain = try ProtectionDomain(device)
        queue = try CompletionQueue(device, capacity: entries)
        channel = try EventChannel()
        sleeper = try Epoll()
        try sleeper.add(channel.descriptor, .readable, token: 0)
        let address = try #require(try device.port().identifiers.compactMap(\.address).first)
        let port = port ?? UInt16(20_000 + Clock.monotonicNanoseconds() / 1000 % 20_000)
        listener = try Listener(
            on: channel, at: RDMAEndpoint(address, port: port), backlog: backlog)
    }

    static func deadline(seconds: UInt64) -> UInt64 {
        Clock.monotonicNanoseconds() + seconds * World.second
    }

    /// Moves connections on until `condition` holds; fails after `seconds`.
    func wait(_ what: String, seconds: UInt64 = 10, until condition: () throws -> Bool) throws {
        let end = World.deadline(seconds: seconds)
        while true {
            let now = Clock.monotonicNanoseconds()
            guard now < end else { throw Timeout(what: what) }
            try channel.dispatch(now: now)
            if try condition() { return }
            _ = sleeper.wait(nanoseconds: 10_000_000)
        }
    }

    struct Timeout: Error { let what: String }

    func queuePair(
        on queue: CompletionQueue? = nil, sends: Int = 8, receives: Int = 8, inline: Int = 0
    ) throws -> QueuePair {
        try QueuePair(
            domain, sends: queue ?? self.queue, receives: queue ?? self.queue,
            QueuePair.Shape(sendDepth: sends, receiveDepth: receives, inlineByteCount: inline))
    }

    /// A connection that has found this world's listener.
    func resolved() throws -> Connection {
        let now = Clock.monotonicNanoseconds()
        let connection = try Connection(
            on: channel, to: listener.endpoint, now: now, deadline: now + 5 * World.second)
        try wait("resolution") { connection.state == .resolved }
        return connection
    }

    /// A connection that asks, and the request that the listener got.
    func asked(privateData: [UInt8] = []) throws -> (asking: Connection, asked: Connection) {
        let asking = try resolved()
        try asking.attach(queuePair())
        try asking.connect(privateData: privateData, deadline: World.deadline(seconds: 5))
        var request: Connection?
        try wait("a request") {
            request = listener.next()
            return request != nil
        }
        return (asking, try #require(request))
    }

    /// Two queue pairs joined by two connections; the one that asked is on `queue`.
    func link(
        queue: CompletionQueue? = nil, sends: Int = 8, receives: Int = 8, inline: Int = 0
    ) throws -> Link {
        let here = try resolved()
        try here.attach(
            queuePair(on: queue, sends: sends, receives: receives, inline: inline))
        try here.connect(deadline: World.deadline(seconds: 5))
        var request: Connection?
        try wait("a request") {
            request = listener.next()
            return request != nil
        }
        let there = try #require(request)
        try there.attach(queuePair(sends: sends, receives: receives, inline: inline))
        try there.accept(deadline: World.deadline(seconds: 5))
        try wait("a connection") { here.state == .established && there.state == .established }
        return Link(
            here: try #require(here.queuePair), there: try #require(there.queuePair),
            connections: (here, there))
    }

    struct Link {
        let here: QueuePair
        let there: QueuePair
        let connections: (here: Connection, there: Connection)
    }

    struct End: Equatable {
        let queuePair: UInt32
        let tag: UInt64
        let count: Int
        let status: WorkStatus
        var byteCount = 0
    }

    /// The next `count` ends of requests on any of `pairs`, in their order.
    func ends(_ count: Int, on pairs: QueuePair...) throws -> [End] {
        var found: [End] = []
        let end = World.deadline(seconds: 10)
        while found.count < count {
            for index in 0..<queue.poll(into: &batch) {
                let completion = batch[index]
                let pair = try #require(pairs.first { $0.number == completion.queuePair })
                let retired = try #require(pair.retire(completion))
                found.append(
                    End(
                        queuePair: pair.number, tag: retired.tag, count: retired.count,
                        status: completion.status))
            }
            guard Clock.monotonicNanoseconds() < end else { throw Timeout(what: "\(found)") }
        }
        return found
    }

    /// Registered memory of `byteCount` bytes.
    func memory(
        _ byteCount: Int, access: MemoryRegion.Access = [.remoteRead, .remoteWrite]
    ) throws -> Buffer {
        let mapping = try Mapping.fresh(byteCount: byteCount)
        return Buffer(
            bytes: mapping.bytes.segment,
            region: try MemoryRegion(domain, mapping, byteCount: byteCount, access: access))
    }

    struct Buffer {
        let bytes: HostSegment
        let region: MemoryRegion

        func fill(_ seed: Int) {
            bytes.store(
                bytes: (0..<bytes.byteCount).map { UInt8(truncatingIfNeeded: $0 * 7 + seed) })
        }
    }
}

extension Mapping {
    static func fresh(byteCount: Int) throws(SystemError) -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }
}
