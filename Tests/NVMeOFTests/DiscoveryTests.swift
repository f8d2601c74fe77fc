import Bdev
import NVMeOF
import Platform
import Testing

/// A discovery service, the targets that it lists, and a service that follows it as D.
private final class DiscoveryBench {
    let bench = RemoteBench()
    let discoveries: DiscoveryServices
    let server: TargetServer

    init() throws {
        discoveries = DiscoveryServices(bench.remotes) { [log = bench.log] in log.add($0) }
        server = try DiscoveryBench.makeServer()
    }

    static func makeServer(port: UInt16 = 0) throws -> TargetServer {
        var behaviour = TargetBehaviour()
        behaviour.subsystem = DiscoveryLog.subsystem
        return try TargetServer(TargetDisk(behaviour), port: port)
    }

    /// A target of its own subsystem, whose namespace is `id`.
    func target(_ name: String, _ id: UInt32) throws -> TargetServer {
        var behaviour = TargetBehaviour()
        behaviour.subsystem = name
        behaviour.namespaces = [id]
        return try TargetServer(behaviour)
    }

    func list(_ targets: [(String, TargetServer)], on other: TargetServer? = nil) {
        (other ?? server).withDisk { disk in
            disk.discovery.entries = targets.map { name, target in
                DiscoveryPage.entry(name, port: "\(target.port)")
            }
            disk.announcedCount += 1
        }
    }

    func start(
        waits: Bool = true, limit: Duration? = .seconds(10), subsystems: [String] = []
    ) async throws(PathFault) {
        try await discoveries.start(
            .init(name: "D", options: RemoteBench.options(server), subsystems: subsystems),
            waits: waits, limit: limit)
    }

    var names: [String] { bench.bdevs.devices.map(\.name).sorted() }

    func end() async {
        await discoveries.closeAll()
        await bench.remotes.closeAll()
        server.stop()
    }
}

@Suite struct `Discovery service` {
    private let one = "nqn.2024-01.test:one"
    private let two = "nqn.2024-01.test:two"

    @Test func `attaches what is listed, and detaches what vanishes`() async throws {
        let all = try DiscoveryBench()
        let targets = [try all.target(one, 1), try all.target(two, 2)]
        all.list([(one, targets[0])])
        try await all.start()
        #expect(all.names == ["D0n1"])
        all.list([(two, targets[1]), (one, targets[0])])
        #expect(await all.bench.wait { all.names == ["D0n1", "D1n2"] })
        all.list([(two, targets[1])])
        #expect(await all.bench.wait { all.names == ["D1n2"] })
        // What comes back has the name that it had.
        all.list([(two, targets[1]), (one, targets[0])])
        #expect(await all.bench.wait { all.names == ["D0n1", "D1n2"] })
        #expect(await all.discoveries.all.first?.subsystems == [one, two])
        #expect(await all.discoveries.all.first?.fault == nil)
        try await all.discoveries.stop("D")
        #expect(all.names.isEmpty)
        #expect(await all.remotesAreGone)
        await all.end()
    }

    @Test func `makes one controller of several ways`() async throws {
        let all = try DiscoveryBench()
        let first = try all.target(one, 1)
        var behaviour = TargetBehaviour()
        behaviour.subsystem = one
        let second = try TargetServer(beside: first, behaviour)
        all.list([(one, first), (one, second), (one, first)])
        try await all.start()
        let listed = await all.bench.remotes.all
        #expect(listed.map(\.name) == ["D0"])
        #expect(listed.first?.paths.count == 2)
        all.list([(one, second)])
        #expect(await all.bench.wait { await all.bench.remotes.all.first?.paths.count == 1 })
        #expect(all.names == ["D0n1"])
        await all.end()
    }

    @Test func `keeps the names of the time before`() async throws {
        let all = try DiscoveryBench()
        let target = try all.target(one, 1)
        all.list([(one, target)])
        try await all.start(subsystems: [two, one])
        #expect(all.names == ["D1n1"])
        await all.end()
    }

    @Test func `keeps what is attached while its controller is away`() async throws {
        let all = try DiscoveryBench()
        let targets = [try all.target(one, 1), try all.target(two, 2)]
        all.list([(one, targets[0])])
        try await all.start()
        all.server.stop()
        #expect(await all.bench.wait { await all.discoveries.all.first?.fault != nil })
        #expect(all.names == ["D0n1"])
        let again = try DiscoveryBench.makeServer(port: all.server.port)
        all.list([(one, targets[0]), (two, targets[1])], on: again)
        #expect(await all.bench.wait { all.names == ["D0n1", "D1n2"] })
        #expect(await all.bench.wait { await all.discoveries.all.first?.fault == nil })
        await all.discoveries.closeAll()
        await all.bench.remotes.closeAll()
        again.stop()
    }

    @Test func `tries again what could not be attached`() async throws {
        let all = try DiscoveryBench()
        let target = try all.target(one, 1)
        let port = target.port
        target.stop()
        all.server.withDisk { $0.discovery.entries = [DiscoveryPage.entry(one, port: "\(port)")] }
        try await all.start(waits: false)
        #expect(await all.bench.wait { await all.discoveries.all.first?.fault != nil })
        #expect(
            await all.bench.wait {
                all.bench.log.has("event=discovered_path_not_attached controller=D0 ")
            })
        var behaviour = TargetBehaviour()
        behaviour.subsystem = one
        let again = try TargetServer(TargetDisk(behaviour), port: port)
        #expect(await all.bench.wait { all.names == ["D0n1"] })
        await all.end()
        again.stop()
    }

    @Test func `that is not reached in time is not followed`() async throws {
        let all = try DiscoveryBench()
        all.server.stop()
        var fault: PathFault?
        // On a machine that is busy for all of a limit, the first attempt may not have ended yet.
        for limit in [Duration.milliseconds(300), .seconds(5), .seconds(60)] {
            fault = await #expect(throws: PathFault.self) { try await all.start(limit: limit) }
            #expect(fault?.code == ErrorNumber.timedOut)
            #expect(await all.discoveries.all.isEmpty)
            if fault?.reason.hasSuffix("the target is slow") != true { break }
        }
        #expect(
            fault?.reason.contains("Connection refused") == true, "\(String(describing: fault))")
    }

    @Test func `is followed once`() async throws {
        let all = try DiscoveryBench()
        try await all.start()
        let twice = await #expect(throws: PathFault.self) { try await all.start() }
        #expect(twice?.code == ErrorNumber.exists)
        let unknown = await #expect(throws: PathFault.self) {
            try await all.discoveries.stop("X")
        }
        #expect(unknown?.code == ErrorNumber.noEntry)
        await all.end()
    }

    @Test(arguments: [
        ("the discovery log has 18446744073709551615 entries", UInt64.max, 0, false),
        ("the discovery log has 1025 entries, more than 1024; attach", 1025, 0, false),
        ("the discovery log has format 7, and 0 alone is known", nil, 7, false),
        ("the discovery log changes faster than it can be read", nil, 0, true),
    ])
    func `that lies about its log changes nothing`(
        reason: String, count: UInt64?, format: UInt16, isRestless: Bool
    ) async throws {
        let all = try DiscoveryBench()
        let targets = [try all.target(one, 1), try all.target(two, 2)]
        all.list([(one, targets[0])])
        try await all.start()
        all.server.withDisk { disk in
            disk.discovery.claimedCount = count
            disk.discovery.format = format
            disk.discovery.isRestless = isRestless
        }
        all.list([(two, targets[1])])
        #expect(
            await all.bench.wait {
                await all.discoveries.all.first?.fault?.reason.hasPrefix(reason) == true
            })
        // The fault is known a moment before it is told.
        #expect(
            await all.bench.wait {
                all.bench.log.has("event=discovery_log_unknown service=D reason=\"\(reason)")
            })
        #expect(all.names == ["D0n1"])
        // An honest log again.
        all.server.withDisk { disk in
            disk.discovery.claimedCount = nil
            disk.discovery.format = 0
            disk.discovery.isRestless = false
        }
        #expect(await all.bench.wait { all.names == ["D1n2"] })
        await all.end()
    }

    @Test func `that announces all the time is read now and then`() async throws {
        let all = try DiscoveryBench()
        try await all.start()
        let before = all.server.withDisk { $0.discovery.readCount }
        for _ in 0..<100 {
            all.server.withDisk { $0.announcedCount += 1 }
            try await Task.sleep(for: .milliseconds(10))
        }
        let reads = all.server.withDisk { $0.discovery.readCount } - before
        // Five times in a second, of an empty log one look each; slack for a busy machine.
        #expect(reads >= 1 && reads <= 20, "\(reads)")
        await all.end()
    }
}

extension DiscoveryBench {
    fileprivate var remotesAreGone: Bool {
        get async { await bench.remotes.all.isEmpty }
    }
}
