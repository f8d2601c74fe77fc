import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Testing
import VhostUser

/// A host that does something in the middle of a hand-over (known issue 4487171).
@Suite(.serialized) struct `Virtio-blk function in a hand-over` {
    private static let rings = [
        Guest.Options(), Guest.Options(isPacked: true),
        Guest.Options(isPacked: true, usesIndirect: true),
    ]

    /// Hands function 0 over while `disturb` runs, which begins when the source has stopped.
    private func disturbed(
        _ options: Guest.Options, takesBack: Bool = false,
        _ disturb: @escaping @Sendable (Guest, String) throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        var source = try await stack.service()
        var old = try await source.create("c0", on: Stack.vuid(0), disk)
        let path = old.hostSocketPath
        let guest = try await onThread {
            let guest = try Guest(path, options)
            try guest.verify(rounds: 2)
            return guest
        }
        for turn in 1...Effort.of(8) {
            if turn % 2 == 0 { try await old.suspendEvents() }
            try await old.handOver(within: .seconds(5), offeringFor: .seconds(60))
            let host = Task { try await onThread { try disturb(guest, path) } }
            try await Task.sleep(for: .milliseconds(turn))
            if takesBack {
                try await old.resume()
            } else {
                let next = try await stack.service()
                let listener = try await listen(next, "c\(turn)", disk)
                #expect(await becomes(.running, listener))
                try await source.controllers.destroy("c\(turn - 1)")
                (source, old) = (next, listener)
            }
            try await host.value
        }
        await stack.stop()
    }

    @Test(arguments: rings)
    func `is stopped and started by its host meanwhile`(options: Guest.Options) async throws {
        for takesBack in [false, true] {
            try await disturbed(options, takesBack: takesBack) { guest, _ in
                let base = try guest.stop()
                try guest.start(base: base)
                try guest.verify(rounds: 2)
            }
        }
    }

    @Test(arguments: rings)
    func `is reset by its host meanwhile (4487171)`(options: Guest.Options) async throws {
        for takesBack in [false, true] {
            try await disturbed(options, takesBack: takesBack) { guest, _ in
                guest.submitWrites()
                try guest.frontEnd.setStatus(0)
                try guest.restart()
                try guest.verify(rounds: 2)
            }
        }
    }

    @Test(arguments: rings)
    func `gets another host meanwhile`(options: Guest.Options) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        let old = try await stack.service().create("a", on: Stack.vuid(0), disk)
        let path = old.hostSocketPath
        try await onThread {
            let guest = try Guest(path, options)
            try guest.verify(rounds: 2)
            guest.submitWrites()
        }
        // Rebooted: the first guest is gone.
        try await old.handOver(within: .seconds(5), offeringFor: .seconds(60))
        let listener = try await listen(try await stack.service(), "b", disk)
        #expect(await becomes(.running, listener))
        try await onThread {
            for attempt in 0..<200 {
                do {
                    try Guest(path, options).verify(rounds: 2)
                    return
                } catch is VhostUserError where attempt < 199 {
                    Clock.sleep(nanoseconds: 5_000_000)
                }
            }
        }
        await stack.stop()
    }

    @Test(arguments: rings)
    func `tells its host where its rings stand while nobody serves`(
        options: Guest.Options
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        let service = try await stack.service()
        let path = try await service.create("a", on: Stack.vuid(0), disk).hostSocketPath
        let guest = try await onThread {
            let guest = try Guest(path, options)
            try guest.verify(rounds: 3)
            return guest
        }
        for turn in 0..<Effort.of(5) {
            try await service.controllers.destroy("a")
            let base = try await onThread { try guest.stop() }
            try await onThread { try guest.start(base: base) }
            _ = try await service.create("a", on: Stack.vuid(0), disk)
            try await onThread { try guest.verify(rounds: turn + 1) }
        }
        await stack.stop()
    }
}
