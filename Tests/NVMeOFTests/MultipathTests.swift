import Bdev
import CWire
import Memory
import NVMeOF
import Platform
import Testing

@Suite(.serialized) struct `Paths of a name` {
    /// Two paths to one disk, and a user of it.
    private struct Pair {
        let bench = RemoteBench()
        let first: TargetServer
        let second: TargetServer
        let user: RemoteUser

        init(
            _ change: (inout TargetBehaviour, Int) -> Void = { _, _ in },
            timers: (inout PathTimers) -> Void = { _ in }
        ) async throws {
            var behaviours = [TargetBehaviour(), TargetBehaviour()]
            for index in behaviours.indices {
                behaviours[index].controllerID = UInt16(index + 1)
                change(&behaviours[index], index)
            }
            first = try TargetServer(behaviours[0])
            second = try TargetServer(beside: first, behaviours[1])
            for server in [first, second] {
                let names = try await bench.attach(server) { options in
                    options.timers.controllerLossSeconds = -1
                    options.timers.reconnectDelaySeconds = 1
                    timers(&options.timers)
                }
                #expect(names == ["Nvme0n1"])
            }
            user = try bench.user()
            // Returns when both have an I/O queue for it.
            try await bench.remotes.reset("Nvme0")
        }

        func stop() {
            first.stop()
            second.stop()
        }

        func write(_ count: Int) -> [BlockStatus] {
            var ended: [BlockStatus] = []
            for index in 0..<count {
                user.submit([user.request(.write, block: UInt64(index))])
                ended += user.finish()
            }
            return ended
        }

        /// Writes that each target has carried out.
        var counts: [Int] {
            [first, second].map { server in
                server.withDisk { $0.counts[UInt8(NVME_NVM_WRITE)] ?? 0 }
            }
        }
    }

    private static func good(_ count: Int) -> [BlockStatus] {
        [BlockStatus](repeating: .success, count: count)
    }

    @Test func `one is used while it is good, and then the other`() async throws {
        let pair = try await Pair()
        defer { pair.stop() }
        #expect(pair.write(10) == Self.good(10))
        // Whichever connected its queue first.
        #expect(pair.counts.sorted() == [0, 10])
        let used = pair.counts[0] == 10 ? 0 : 1
        let other = 1 - used
        pair.user.submit((0..<8).map { pair.user.request(.write, tag: $0, block: UInt64($0)) })
        [pair.first, pair.second][used].stop()
        #expect(pair.user.finish() == Self.good(8))
        #expect(pair.write(10) == Self.good(10))
        #expect(pair.counts[other] >= 10)
        let states = await pair.bench.remotes.all.first?.paths.map(\.phase)
        #expect(states?[other] == .enabled)
    }

    @Test func `all of the best are used in turn`() async throws {
        let pair = try await Pair()
        defer { pair.stop() }
        var policy = MultipathPolicy()
        policy.spread = .activeActive
        policy.requestsInTurn = 2
        try await pair.bench.remotes.setPolicy(policy, of: "Nvme0n1")
        #expect(pair.write(40) == Self.good(40))
        #expect(pair.counts == [20, 20])
        await #expect(throws: PathFault.self) {
            try await pair.bench.remotes.setPolicy(policy, of: "Nvme0n2")
        }
    }

    @Test func `an optimized one is preferred`() async throws {
        let pair = try await Pair { behaviour, index in
            let states = [NVME_ANA_NON_OPTIMIZED, NVME_ANA_OPTIMIZED]
            behaviour.accessState = UInt8(states[index])
        }
        defer { pair.stop() }
        #expect(pair.write(10) == Self.good(10))
        #expect(pair.counts == [0, 10])
        // The state changes under I/O; the status says so.
        pair.second.withDisk { disk in
            disk.behaviour.accessState = UInt8(NVME_ANA_INACCESSIBLE)
            disk.behaviour.failures = 1
            disk.behaviour.failureStatus = NVME_SCT_PATH << 8 | NVME_SC_ANA_INACCESSIBLE
        }
        #expect(pair.write(10) == Self.good(10))
        #expect(pair.counts == [10, 11])
    }

    @Test func `requests wait while none is accessible`() async throws {
        let pair = try await Pair { behaviour, _ in
            behaviour.accessState = UInt8(NVME_ANA_INACCESSIBLE)
        }
        defer { pair.stop() }
        pair.user.submit([pair.user.request(.write, block: 0)])
        #expect(pair.user.finish(seconds: 1).isEmpty)
        pair.second.withDisk { $0.behaviour.accessState = UInt8(NVME_ANA_OPTIMIZED) }
        try await pair.bench.remotes.reset("Nvme0", controllerID: 2)
        #expect(pair.user.finish() == [.success])
        #expect(pair.counts == [0, 1])
    }

    @Test func `one can go while it is used`() async throws {
        let pair = try await Pair()
        defer { pair.stop() }
        pair.user.submit((0..<8).map { pair.user.request(.write, tag: $0, block: UInt64($0)) })
        let port = pair.first.port
        try await pair.bench.remotes.detach("Nvme0") { $0.options.port == port }
        #expect(pair.user.finish() == Self.good(8))
        #expect(pair.write(5) == Self.good(5))
        #expect(pair.counts[1] >= 5)
        #expect(await pair.bench.remotes.all.first?.paths.count == 1)
        await #expect(throws: PathFault.self) {
            try await pair.bench.remotes.detach("Nvme0") { $0.options.port == port }
        }
    }

    @Test func `another namespace is not joined`() async throws {
        let first = try TargetServer()
        defer { first.stop() }
        var behaviour = TargetBehaviour()
        behaviour.blockShift = 12
        let second = try TargetServer(behaviour)
        defer { second.stop() }
        let bench = RemoteBench()
        try await bench.attach(first)
        await #expect(throws: PathFault.self) { try await bench.attach(second) }
        #expect(await bench.remotes.all.first?.paths.count == 1)
    }

    /// Four reactors and fewer queues: the last is shared (issue: "no free I/O queue IDs").
    @Test(arguments: [1, 2, 3, 4])
    func `fewer queues than reactors are enough`(granted: Int) async throws {
        var behaviour = TargetBehaviour()
        behaviour.queueCount = granted
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench(reactorCount: 4)
        try await bench.attach(server)
        let users = try (0..<4).map { _ in try bench.user() }
        for round in 0..<3 {
            for (index, user) in users.enumerated() {
                user.bytes(at: 0, 4096).fill(with: UInt8(index + 1))
                user.submit(
                    (0..<8).map { tag in
                        user.request(.write, tag: tag, block: UInt64(index * 8) + UInt64(tag))
                    })
            }
            for user in users { #expect(user.finish() == Self.good(8)) }
            #expect(server.withDisk(\.connectedQueues) == granted * (round == 2 ? 2 : 1))
            if round == 1 { try await bench.remotes.reset("Nvme0") }
        }
        for index in 0..<4 {
            let found = server.withDisk { Array($0.bytes[index * 4096..<index * 4096 + 512]) }
            #expect(found == [UInt8](repeating: UInt8(index + 1), count: 512))
        }
        #expect(server.withDisk(\.complaints) == [])
    }
}
