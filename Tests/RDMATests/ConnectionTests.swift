import Memory
import Platform
import RDMA
import Seeds
import Testing

@Suite(.serialized, .enabled(if: TestDevice.isThere, TestDevice.reason))
struct `RDMA connections` {
    @Test func `carry private data both ways`() throws {
        let world = try World()
        let hello = Array("connect me".utf8)
        let (asking, asked) = try world.asked(privateData: hello)
        #expect(Array(asked.privateData.prefix(hello.count)) == hello)
        #expect(asked.privateData.dropFirst(hello.count).allSatisfy { $0 == 0 })
        #expect(try asked.device().name == world.device.name)
        try asked.attach(world.queuePair())
        let answer = [UInt8](repeating: 7, count: Connection.PrivateData.ofAccept)
        try asked.accept(privateData: answer, deadline: World.deadline(seconds: 5))
        try world.wait("a connection") {
            asking.state == .established && asked.state == .established
        }
        #expect(asking.privateData == answer)
        asking.close()
        #expect(asking.state == .closed(.closedHere))
        try world.wait("its end") { asked.state == .closed(.closedByPeer) }
        #expect(world.channel.nextDeadline == nil)
    }

    @Test func `can be refused with a reason`() throws {
        let world = try World()
        let (asking, asked) = try world.asked()
        let why = [UInt8](1...100)
        try asked.reject(privateData: why)
        #expect(asked.state == .closed(.closedHere))
        try world.wait("a rejection") { if case .closed = asking.state { true } else { false } }
        guard case .closed(.rejected(let reason, let data)) = asking.state else {
            Issue.record("\(asking.state)")
            return
        }
        #expect(reason == 28 && Array(data.prefix(100)) == why)
    }

    @Test func `are refused where nobody listens`() throws {
        let world = try World()
        let now = Clock.monotonicNanoseconds()
        let other = RDMAEndpoint(world.listener.endpoint.address, port: 19_999)
        let connection = try Connection(
            on: world.channel, to: other, now: now, deadline: World.deadline(seconds: 5))
        try world.wait("resolution") { connection.state == .resolved }
        try connection.attach(world.queuePair())
        try connection.connect(deadline: World.deadline(seconds: 5))
        try world.wait("a rejection") { connection.state != .resolved && !connection.isOpen }
        guard case .closed(.rejected(let reason, _)) = connection.state else {
            Issue.record("\(connection.state)")
            return
        }
        #expect(reason == 8)
    }

    @Test(arguments: ["203.0.113.9", "10.9.0.77"])
    func `to nowhere end by their deadline`(address: String) throws {
        let world = try World()
        let start = Clock.monotonicNanoseconds()
        let connection = try Connection(
            on: world.channel, to: RDMAEndpoint(address, port: 4420), now: start,
            deadline: start + World.second)
        if connection.isOpen {
            #expect(try #require(world.channel.nextDeadline) == start + World.second)
        }
        try world.wait("its end") { !connection.isOpen || connection.state == .resolved }
        if connection.state == .resolved {
            // A dummy network says that everybody is there; then nobody answers.
            try connection.attach(world.queuePair())
            try connection.connect(deadline: World.deadline(seconds: 1))
            try world.wait("its end") { !connection.isOpen }
        }
        switch connection.state {
        case .closed(.unreachable), .closed(.timedOut): break
        default: Issue.record("\(connection.state)")
        }
        #expect(Clock.monotonicNanoseconds() - start < 5 * World.second)
    }

    @Test func `that nobody answers time out`() throws {
        let world = try World()
        let asking = try world.resolved()
        try asking.attach(world.queuePair())
        let start = Clock.monotonicNanoseconds()
        try asking.connect(deadline: start + World.second / 2)
        try world.wait("the deadline") { asking.state == .closed(.timedOut("connecting")) }
        #expect(Clock.monotonicNanoseconds() - start >= World.second / 2)
    }

    @Test func `beyond the backlog are rejected`() throws {
        let world = try World(backlog: 1)
        let (_, first) = try world.asked()
        // `asked` took the first one out; the next waits, the one after it is too many.
        let waiting = try world.resolved()
        try waiting.attach(world.queuePair())
        try waiting.connect(deadline: World.deadline(seconds: 5))
        let refused = try world.resolved()
        try refused.attach(world.queuePair())
        try refused.connect(deadline: World.deadline(seconds: 5))
        try world.wait("a rejection") { !refused.isOpen || !waiting.isOpen }
        #expect(refused.isOpen != waiting.isOpen)
        #expect(world.listener.next() != nil && world.listener.next() == nil)
        #expect(first.state == .requested)
    }

    @Test func `refuse steps that they are not ready for`() throws {
        let world = try World()
        let connection = try world.resolved()
        #expect(throws: RDMAError.outOfOrder(step: "connect", .resolved)) {
            try connection.connect(deadline: World.deadline(seconds: 1))
        }
        #expect(throws: RDMAError.outOfOrder(step: "accept", .resolved)) {
            try connection.accept(deadline: World.deadline(seconds: 1))
        }
        #expect(throws: RDMAError.outOfOrder(step: "reject", .resolved)) {
            try connection.reject()
        }
        let (_, asked) = try world.asked()
        #expect(throws: RDMAError.outOfOrder(step: "accept", .requested)) {
            try asked.accept(deadline: World.deadline(seconds: 1))
        }
        connection.close()
        let closed = ConnectionState.closed(.closedHere)
        #expect(throws: RDMAError.outOfOrder(step: "attach a queue pair", closed)) {
            try connection.attach(world.queuePair())
        }
    }

    @Test func `refuse private data that does not fit, and text that is no address`() throws {
        let world = try World()
        let connection = try world.resolved()
        try connection.attach(world.queuePair())
        #expect(throws: RDMAError.privateDataTooLong(57, limit: 56)) {
            try connection.connect(
                privateData: [UInt8](repeating: 0, count: 57), deadline: World.deadline(seconds: 1))
        }
        #expect(connection.state == .resolved)
        let nowhere = RDMAEndpoint("localhost", port: 1)
        #expect(throws: RDMAError.notAnAddress("localhost")) {
            try Connection(on: world.channel, to: nowhere, now: 0, deadline: 1)
        }
        #expect(throws: RDMAError.notAnAddress("localhost")) {
            try Listener(on: world.channel, at: nowhere)
        }
    }

    @Test(.enabled(if: VerbsDevice.names.count > 1, "this machine has one RDMA device"))
    func `refuse a queue pair of another device`() throws {
        let world = try World()
        let name = try #require(VerbsDevice.names.first { $0 != world.device.name })
        let other = try VerbsDevice(name)
        let queue = try CompletionQueue(other, capacity: 8)
        let pair = try QueuePair(
            ProtectionDomain(other), sends: queue, receives: queue,
            QueuePair.Shape(sendDepth: 1, receiveDepth: 1))
        let connection = try world.resolved()
        #expect(throws: RDMAError.wrongDevice(name, connection: world.device.name)) {
            try connection.attach(pair)
        }
        #expect(connection.state == .resolved && connection.queuePair == nil)
    }

    @Test func `a thousand times leave nothing behind`() throws {
        let world = try World()
        func round() throws {
            let link = try world.link(sends: 4, receives: 4)
            let near = try world.memory(256)
            let far = try world.memory(256)
            near.fill(1)
            _ = link.here.prepareWrite(
                near.region.part(byteCount: 256), to: far.region.remote(), tag: 1)
            #expect(link.here.post() == 0)
            #expect(try world.ends(1, on: link.here).map(\.status) == [.success])
            #expect(far.bytes.isEqual(to: near.bytes))
            link.connections.here.close()
            try world.wait("the end") { !link.connections.there.isOpen }
        }
        for _ in 0..<5 { try round() }
        let before = try Held(world)
        for _ in 0..<Effort.of(1000) { try round() }
        var batch = CompletionBatch(capacity: 16)
        while world.queue.poll(into: &batch) > 0 {}
        #expect(try Held(world) == before)
        #expect(world.queue.free == world.queue.capacity)
    }

    /// What this process holds of the system.
    struct Held: Equatable {
        let descriptors: Int
        /// What the kernel counts of the device: `pd 1 cq 2 qp 0 …`; nothing without rdma(8).
        let objects: String

        init(_ world: World) throws {
            descriptors = try FileSystem.entries(of: "/proc/self/fd").count
            let paths = (ProcessFacts.environment("PATH") ?? "").split(separator: ":")
            let program = paths.map { "\($0)/rdma" }.first(where: FileSystem.exists)
            let text = try program.map {
                try ChildProcess.output(of: $0, ["resource", "show", world.device.name])
            }
            objects = String(decoding: text ?? [], as: UTF8.self)
        }
    }
}

extension Connection {
    var isOpen: Bool { if case .closed = state { false } else { true } }
}
