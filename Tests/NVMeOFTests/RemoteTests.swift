import Bdev
import CWire
import Memory
import NVMeOF
import Platform
import Testing

@Suite(.serialized) struct `Remote controller` {
    @Test func `makes a bdev of each namespace`() async throws {
        var behaviour = TargetBehaviour()
        behaviour.namespaces = [1, 3]
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench()
        #expect(try await bench.attach(server) == ["Nvme0n1", "Nvme0n3"])
        let device = try bench.bdevs.device("Nvme0n1")
        #expect(device.geometry == BlockGeometry(blockByteCount: 512, blockCount: 2048))
        #expect(device.uuid.description == "01020304-0506-0708-090a-0b0c0d0e0f10")
        let path = try #require(await bench.remotes.all.first?.paths.first)
        #expect(path.phase == .enabled)
        #expect(path.facts.serial == "SERIAL")
        #expect(path.facts.model == "Simulated target")
        #expect(path.facts.id == 5)
        try await bench.remotes.detach("Nvme0")
        #expect(bench.bdevs.devices.isEmpty)
        #expect(await bench.remotes.all.isEmpty)
        #expect(server.withDisk(\.complaints) == [])
    }

    @Test(arguments: [0, 3])
    func `carries out every operation`(digests: Int) async throws {
        var behaviour = TargetBehaviour()
        behaviour.digests = digests
        behaviour.transferShift = 4
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.hasHeaderDigest = digests & 1 != 0
            options.hasDataDigest = digests & 2 != 0
        }
        let user = try bench.user()
        let bytes = (0..<1 << 19).map { UInt8(truncatingIfNeeded: ($0 &* 7) >> 8) }
        user.bytes(at: 0, bytes.count).store(bytes: bytes)
        // Longer than MDTS: several commands.
        #expect(user.run(user.request(.write, block: 100, count: 1024)) == .success)
        #expect(server.withDisk { Array($0.bytes[51_200..<51_200 + bytes.count]) } == bytes)
        #expect(user.run(user.request(.read, block: 100, count: 1024, at: 1 << 20)) == .success)
        #expect(user.bytes(at: 1 << 20, bytes.count).bytes() == bytes)
        #expect(user.run(user.request(.flush, block: 0, count: 0)) == .success)
        #expect(user.run(user.request(.unmap, block: 100, count: 2)) == .success)
        #expect(user.run(user.request(.writeZeroes, block: 110, count: 2)) == .success)
        let disk = server.withDisk { Array($0.bytes[51_200..<51_200 + 12 * 512]) }
        for (block, isZero) in [(0, true), (1, true), (2, false), (10, true), (11, true)] {
            let part = disk[block * 512..<block * 512 + 512]
            #expect(part.allSatisfy { $0 == 0 } == isZero)
        }
        let counts = server.withDisk(\.counts)
        #expect(counts[UInt8(NVME_NVM_WRITE)] == 8)
        #expect(counts[UInt8(NVME_NVM_READ)] == 8)
        #expect(server.withDisk(\.complaints) == [])
    }

    @Test func `requests wait while the target is away`() async throws {
        let disk = TargetDisk(TargetBehaviour())
        let server = try TargetServer(disk)
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
        }
        let user = try bench.user()
        #expect(user.run(user.request(.write, block: 1)) == .success)
        server.stop()
        user.submit((0..<8).map { user.request(.write, tag: $0, block: UInt64($0)) })
        try await Task.sleep(for: .milliseconds(1_500))
        #expect(user.poll().isEmpty)
        let again = try TargetServer(disk, port: server.port)
        defer { again.stop() }
        #expect(user.finish() == [BlockStatus](repeating: .success, count: 8))
        #expect(await bench.wait { bench.log.has("event=path_lost") })
        // Reactors have their queues a moment before the path says so.
        #expect(await bench.wait { await bench.remotes.all.first?.paths.first?.phase == .enabled })
    }

    @Test func `a silent target is noticed by its keep-alive`() async throws {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
            options.timers.keepAliveMilliseconds = 400
            options.timers.patienceMilliseconds = 400
        }
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.setSilent(true)
        user.submit([user.request(.read, block: 1)])
        #expect(await bench.wait { bench.log.has("Keep Alive did not come in time") })
        server.setSilent(false)
        #expect(user.finish() == [.success])
    }

    @Test func `requests fail when their time is over, and work again later`() async throws {
        let disk = TargetDisk(TargetBehaviour())
        let server = try TargetServer(disk)
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = 60
            options.timers.reconnectDelaySeconds = 1
            options.timers.fastIOFailSeconds = 1
        }
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.stop()
        #expect(user.run(user.request(.read, block: 1)) == .failed)
        let again = try TargetServer(disk, port: server.port)
        defer { again.stop() }
        #expect(await bench.wait { await bench.remotes.all.first?.paths.first?.phase == .enabled })
        #expect(user.run(user.request(.read, block: 1)) == .success)
    }

    @Test func `without timers one attempt is made, and a reset makes another`() async throws {
        let disk = TargetDisk(TargetBehaviour())
        let server = try TargetServer(disk)
        let bench = RemoteBench()
        try await bench.attach(server)
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.stop()
        #expect(user.run(user.request(.read, block: 1)) == .failed)
        #expect(await bench.remotes.all.first?.paths.first?.phase == .failed)
        await #expect(throws: PathFault.self) { try await bench.remotes.reset("Nvme0") }
        let again = try TargetServer(disk, port: server.port)
        defer { again.stop() }
        try await bench.remotes.reset("Nvme0")
        #expect(user.run(user.request(.read, block: 1)) == .success)
    }

    @Test func `a controller that stays lost is deleted with its bdevs`() async throws {
        let server = try TargetServer()
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = 1
            options.timers.reconnectDelaySeconds = 1
        }
        server.stop()
        #expect(await bench.wait { bench.bdevs.devices.isEmpty })
        #expect(await bench.wait { bench.log.has("event=path_given_up") })
    }

    @Test func `what is given up ends at once, but for writes that the target may do`() async throws
    {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
            options.timers.keepAliveMilliseconds = 2_000
        }
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.setSilent(true)
        user.submit([
            user.request(.read, tag: 0, block: 1), user.request(.write, tag: 1, block: 2),
        ])
        user.channel.abandonHeld()
        #expect(user.finish(seconds: 0) == [])
        #expect(user.poll().map(\.tag) == [0])
        // The keep-alive timer bounds the write.
        #expect(user.finish() == [.aborted])
        server.setSilent(false)
        #expect(user.run(user.request(.read, block: 1)) == .success)
    }

    /// A reactor that gives its connection back when the path's next one is on its way.
    @Test func `a connection given back late does not take the place of a newer one`() async throws
    {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server)
        let device = try bench.bdevs.device("Nvme0n1")
        let site = RemoteUser.Site()
        func use(_ user: RemoteUser) -> BlockStatus? { user.run(user.request(.read, block: 1)) }
        for _ in 0..<3 {
            var user: RemoteUser? = try RemoteUser(device, depth: 4, at: site)
            let status = user.flatMap(use)
            #expect(status == .success)
            // The reactor does not look at what it is given meanwhile.
            try await bench.remotes.reset("Nvme0")
            user = nil
        }
    }

    @Test func `why a path is not connected again is logged once for each reason`() async throws {
        let server = try TargetServer()
        let bench = RemoteBench()
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
        }
        server.stop()
        #expect(await bench.wait { bench.log.count("event=path_not_connected") == 1 })
        #expect(bench.log.has("Connection refused; check traddr and trsvcid"))
        // Two more attempts.
        try await Task.sleep(for: .milliseconds(2_500))
        #expect(bench.log.count("event=path_not_connected") == 1)
    }

    /// On a shared queue the memory of a read is another thread's until the queue has ended.
    @Test func `what is given up on a shared queue is waited for two seconds`() async throws {
        var behaviour = TargetBehaviour()
        behaviour.queueCount = 1
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench(reactorCount: 4)
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
            options.timers.keepAliveMilliseconds = 60_000
        }
        let users = try (0..<2).map { _ in try bench.user() }
        for user in users { #expect(user.run(user.request(.read, block: 1)) == .success) }
        server.setSilent(true)
        for user in users {
            user.bytes(at: 0, 512).fill(with: 0xEE)
            user.submit([user.request(.read, block: 1)])
        }
        let start = Clock.monotonicNanoseconds()
        users[0].channel.abandonHeld()
        #expect(users[0].finish() == [.aborted])
        let time = Clock.monotonicNanoseconds() - start
        #expect(time >= 1_900_000_000 && time < 5_000_000_000, "\(time) ns")
        server.setSilent(false)
        // Another function's request was only late, and nothing came to the memory of the first.
        #expect(users[1].finish() == [.success])
        #expect(users[0].bytes(at: 0, 512).bytes().allSatisfy { $0 == 0xEE })
        #expect(await bench.wait { bench.log.has("\(ConnectionFault.stalled)") })
    }

    /// What a reset waits for and gets in time ends no connection.
    @Test func `what is given up on a shared queue and answered disturbs nobody`() async throws {
        var behaviour = TargetBehaviour()
        behaviour.queueCount = 1
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench(reactorCount: 4)
        try await bench.attach(server)
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.setSilent(true)
        user.submit([user.request(.read, block: 1)])
        user.channel.abandonHeld()
        server.setSilent(false)
        #expect(user.finish() == [.success])
        Clock.sleep(nanoseconds: 2_500_000_000)
        #expect(user.run(user.request(.read, block: 1)) == .success)
        #expect(!bench.log.has("event=path_lost"))
    }

    @Test func `a reset loses no request`() async throws {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server)
        let user = try bench.user()
        for _ in 0..<10 {
            user.submit((0..<8).map { user.request(.write, tag: $0, block: UInt64($0)) })
            let remotes = bench.remotes
            async let reset: Void = remotes.reset("Nvme0")
            let ended = user.finish()
            #expect(ended == [BlockStatus](repeating: .success, count: 8))
            try await reset
        }
    }

    @Test func `statuses are retried, or reported as what they are`() async throws {
        let server = try TargetServer()
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server)
        let user = try bench.user()
        func read(_ failures: Int, _ status: Int) -> BlockStatus? {
            server.withDisk { disk in
                disk.behaviour.failures = failures
                disk.behaviour.failureStatus = status
            }
            return user.run(user.request(.read, block: 1))
        }
        #expect(read(3, NVME_SC_INTERNAL_ERROR) == .success)
        #expect(read(4, NVME_SC_INTERNAL_ERROR) == .failed)
        #expect(read(1, 1 << 14 | NVME_SC_INTERNAL_ERROR) == .failed)
        // What a target says to a write whose data digest it finds wrong (TCP §3.3.1).
        #expect(read(3, NVME_SC_TRANSIENT_TRANSPORT) == .success)
        #expect(read(1, NVME_SC_LBA_OUT_OF_RANGE) == .invalid)
        #expect(read(1, NVME_SC_CAPACITY_EXCEEDED) == .noSpace)
        #expect(read(1, NVME_SC_NAMESPACE_WRITE_PROTECTED) == .readOnly)
        #expect(read(1, NVME_SC_INVALID_OPCODE) == .unsupported)
    }

    @Test(arguments: [false, true])
    func `a wrong data digest is no end of the connection`(completes: Bool) async throws {
        var behaviour = TargetBehaviour()
        behaviour.digests = 2
        behaviour.chunkByteCount = 1024
        behaviour.completesWithData = completes
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench()
        try await bench.attach(server) { $0.hasDataDigest = true }
        let user = try bench.user()
        let bytes = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 13) }
        user.bytes(at: 0, 4096).store(bytes: bytes)
        #expect(user.run(user.request(.write, block: 8, count: 8)) == .success)
        func read(damaged: Int) -> BlockStatus? {
            server.withDisk { $0.behaviour.damagedCount = damaged }
            return user.run(user.request(.read, block: 8, count: 8, at: 8192))
        }
        // Each read has four data PDUs: one wrong one of it, and then all of three reads.
        for damaged in [1, 12] {
            user.bytes(at: 8192, 4096).fill(with: 0)
            #expect(read(damaged: damaged) == .success)
            let isWhole = user.bytes(at: 8192, 4096).bytes() == bytes
            #expect(isWhole)
        }
        #expect(read(damaged: 16) == .failed)
        #expect(read(damaged: 0) == .success)
        #expect(server.withDisk(\.connectedQueues) == 1)
        #expect(!bench.log.has("event=path_lost"))
    }
}
