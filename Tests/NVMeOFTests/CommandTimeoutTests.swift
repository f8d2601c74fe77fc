import Bdev
import CWire
import NVMeOF
import Platform
import Testing

@Suite(.serialized) struct `A command that takes too long` {
    private static let limit: UInt64 = 300_000

    /// A target that leaves commands unanswered, and a user that has eight under way.
    private struct Late {
        let bench = RemoteBench()
        let server: TargetServer
        let user: RemoteUser
        let start: Ticks

        init(_ action: CommandTimeout.Action, aborts: Bool = true) async throws {
            var behaviour = TargetBehaviour()
            behaviour.aborts = aborts
            server = try TargetServer(behaviour)
            try await bench.attach(server) { options in
                options.timers.controllerLossSeconds = -1
                options.timers.reconnectDelaySeconds = 1
                options.commandTimeout.action = action
                options.commandTimeout.microseconds = limit
            }
            let user = try bench.user()
            #expect(user.run(user.request(.write, block: 9)) == .success)
            server.withDisk { $0.behaviour.unansweredCount = 2 }
            start = .now()
            user.submit((0..<8).map { user.request(.write, tag: $0, block: UInt64($0)) })
            self.user = user
        }

        func finish() {
            #expect(user.finish() == [BlockStatus](repeating: .success, count: 8))
            let taken = Ticks.nanoseconds(from: Ticks.now().since(start))
            #expect(taken >= limit * 1000)
        }

        var writeCount: Int { server.withDisk { $0.counts[UInt8(NVME_NVM_WRITE)] ?? 0 } }
    }

    @Test func `has the path reset and is sent again`() async throws {
        let late = try await Late(.reset)
        defer { late.server.stop() }
        late.finish()
        #expect(late.writeCount == 1 + 8 + 2)
        #expect(late.server.withDisk(\.abortCount) == 0)
        #expect(await late.bench.wait { late.bench.log.has("did not answer a command") })
        #expect(await late.bench.wait { late.bench.log.count("event=path_lost") == 1 })
    }

    @Test func `is aborted and sent again`() async throws {
        let late = try await Late(.abort)
        defer { late.server.stop() }
        late.finish()
        #expect(late.writeCount == 1 + 8 + 2)
        #expect(late.server.withDisk(\.abortCount) == 2)
        #expect(await late.bench.wait { late.bench.log.count("event=command_late") == 2 })
        #expect(!late.bench.log.has("event=path_lost"))
    }

    @Test func `has the path reset where it is not aborted`() async throws {
        let late = try await Late(.abort, aborts: false)
        defer { late.server.stop() }
        late.finish()
        #expect(Ticks.nanoseconds(from: Ticks.now().since(late.start)) >= 2000 * Self.limit)
        #expect(late.server.withDisk(\.abortCount) == 2)
        #expect(await late.bench.wait { late.bench.log.count("event=path_lost") == 1 })
    }

    @Test func `is waited for otherwise`() async throws {
        let late = try await Late(.none)
        defer { late.server.stop() }
        #expect(late.user.finish(seconds: 1) == [BlockStatus](repeating: .success, count: 6))
        #expect(!late.bench.log.has("event=path_lost"))
        try await late.bench.remotes.reset("Nvme0")
        #expect(late.user.finish() == [.success, .success])
    }

    @Test func `on a queue that reactors share has the path reset`() async throws {
        var behaviour = TargetBehaviour()
        behaviour.queueCount = 1
        let server = try TargetServer(behaviour)
        defer { server.stop() }
        let bench = RemoteBench(reactorCount: 2)
        try await bench.attach(server) { options in
            options.timers.controllerLossSeconds = -1
            options.timers.reconnectDelaySeconds = 1
            options.commandTimeout.action = .abort
            options.commandTimeout.microseconds = Self.limit
        }
        let user = try bench.user()
        server.withDisk { $0.behaviour.unansweredCount = 1 }
        #expect(user.run(user.request(.read, block: 1)) == .success)
        #expect(server.withDisk(\.abortCount) == 0)
        #expect(await bench.wait { bench.log.has("event=path_lost") })
    }
}
