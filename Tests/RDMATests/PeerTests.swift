import Bounded
import Memory
import Platform
import RDMA
import Testing

/// Two processes of this bundle, a host and a service, as test_rdma_guest.py starts them and kills
/// one; `SOFTSNAP_RDMA_ROLE` says which this is.
///
/// The service writes numbered records into the host's memory: 512 bytes of data, then the number
/// behind them, in one batch. Whenever it dies, the host finds behind every number the data that
/// belongs to it.
@Suite(.serialized) struct `RDMA peers` {
    static let role = ProcessFacts.environment("SOFTSNAP_RDMA_ROLE")
    static let port: UInt16 = 7471
    static let lanes = 64
    static let laneByteCount = 1024
    static let dataByteCount = 512
    static let waiting: Comment = "test_rdma_guest.py starts it as one of two processes"

    /// Serves one service after another until one says that it is done.
    @Test(.enabled(if: role == "host", waiting)) func `a host serves one service after another`()
        throws
    {
        let world = try World(port: Self.port)
        let host = try world.memory(Self.lanes * Self.laneByteCount)
        let place = host.region.remote()
        print("host: listens")
        var served = 0
        while true {
            var request: Connection?
            try world.wait("a service", seconds: 60) {
                request = world.listener.next()
                return request != nil
            }
            let connection = try #require(request)
            let pair = try world.queuePair()
            try connection.attach(pair)
            let message = host.region.part(byteCount: 8)
            #expect(pair.prepareReceive(into: message, tag: 0) && pair.post() == 0)
            try connection.accept(
                privateData: ByteLayout.bytes(of: place), deadline: World.deadline(seconds: 5))
            try world.wait("a service", seconds: 60) { !connection.isOpen }
            #expect(connection.state == .closed(.closedByPeer))
            let wasDone = try world.ends(1, on: pair)[0].status == .success
            let numbers = check(host)
            served += 1
            print("host: service \(served) wrote up to \(numbers)")
            if wasDone { break }
            #expect(numbers > 0, "it was killed before it wrote anything")
        }
        #expect(served == 2)
    }

    /// Expects that every record is whole. Returns the highest number.
    private func check(_ host: World.Buffer) -> UInt64 {
        var highest: UInt64 = 0
        for lane in 0..<Self.lanes {
            let record = host.bytes.part(
                at: lane * Self.laneByteCount, byteCount: Self.laneByteCount)
            let number = record.load(UInt64.self, at: Self.dataByteCount)
            // A number may be missing behind newer data, never the other way round.
            let data = record.load(UInt64.self)
            let end = record.load(UInt64.self, at: Self.dataByteCount - 8)
            #expect(data >= number && end >= number, "lane \(lane)")
            highest = max(highest, number)
        }
        return highest
    }

    /// Writes records: `SOFTSNAP_RDMA_RECORDS` of them, and says that it is done.
    @Test(.enabled(if: role == "service", waiting)) func `a service writes until it is done`()
        throws
    {
        let records = ProcessFacts.environment("SOFTSNAP_RDMA_RECORDS").flatMap(UInt64.init)
        let (world, connection, place) = try connected()
        let service = try Writer(world, connection, place)
        print("service: writes")
        #expect(try service.write(try #require(records)) == nil)
        #expect(service.channel.notify(service.memory.region.part(byteCount: 8), tag: 0))
        #expect(service.settle() == nil)
        connection.close()
    }

    /// Writes until the host is gone, and expects to hear of that.
    @Test(.enabled(if: role == "survivor", waiting)) func `a service hears of its host's end`()
        throws
    {
        let (world, connection, place) = try connected()
        let service = try Writer(world, connection, place)
        print("service: writes")
        let failure = try service.write(.max)
        print("service: \(failure.map { "\($0)" } ?? "nothing")")
        #expect(failure == .retriesExceeded || failure == .flushed || failure == .remoteAccess)
        try world.wait("the host's end") { !connection.isOpen }
        #expect(connection.state == .closed(.closedByPeer))
    }

    private func connected() throws -> (World, Connection, RemoteAddress) {
        let world = try World()
        let address = world.listener.endpoint.address
        let now = Clock.monotonicNanoseconds()
        let connection = try Connection(
            on: world.channel, to: RDMAEndpoint(address, port: Self.port), now: now,
            deadline: now + 5 * World.second)
        try world.wait("resolution") { connection.state == .resolved }
        try connection.attach(world.queuePair(sends: 32))
        try connection.connect(deadline: World.deadline(seconds: 5))
        try world.wait("the host") { connection.state == .established }
        let place = try #require(ByteLayout.load(RemoteAddress.self, from: connection.privateData))
        return (world, connection, place)
    }
}

/// The service's side: writes records until something fails.
private final class Writer {
    typealias Peers = `RDMA peers`
    let world: World
    let channel: VerbsChannel
    let memory: World.Buffer
    private let connection: Connection
    private let place: RemoteAddress
    private var batch = CompletionBatch(capacity: 16)
    private var ends: BoundedArray<VerbsChannel.End>

    init(_ world: World, _ connection: Connection, _ place: RemoteAddress) throws {
        self.world = world
        self.connection = connection
        self.place = place
        channel = VerbsChannel(try #require(connection.queuePair))
        memory = try world.memory(Peers.lanes * Peers.laneByteCount)
        ends = BoundedArray(capacity: channel.depth)
    }

    /// What failed before `records` were written; nil when all were.
    func write(_ records: UInt64) throws -> WorkStatus? {
        var number: UInt64 = 0
        while number < records {
            for _ in 0..<8 {
                number += 1
                let lane = Int(number % UInt64(Peers.lanes)) * Peers.laneByteCount
                memory.bytes.store(number, at: lane)
                memory.bytes.store(number, at: lane + Peers.dataByteCount - 8)
                memory.bytes.store(number, at: lane + Peers.dataByteCount)
                try #require(give(lane, 0, Peers.dataByteCount))
                try #require(give(lane, Peers.dataByteCount, 8))
            }
            if let failure = settle() { return failure }
        }
        return nil
    }

    private func give(_ lane: Int, _ offset: Int, _ count: Int) -> Bool {
        let start = lane + offset
        let remote = RemoteAddress(place.address + UInt64(start), key: place.key)
        return channel.write(
            memory.region.part(at: start, byteCount: count), to: remote, tag: UInt64(start))
    }

    /// Submits, and waits until nothing is under way. What failed first.
    func settle() -> WorkStatus? {
        guard channel.submit() else { return channel.failure }
        while channel.room < channel.depth {
            for index in 0..<world.queue.poll(into: &batch) {
                channel.finish(batch[index], into: &ends)
            }
            ends.removeAll()
        }
        return channel.failure
    }
}
