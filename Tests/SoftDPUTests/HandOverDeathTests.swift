import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Testing

/// Services that die at any moment of a hand-over: the function is left with the other one, or can
/// be recovered, and its guest loses nothing.
@Suite(.serialized) struct `Hand-over with deaths` {
    private static func delayed(_ stack: Stack) throws -> BlockDevice {
        let latencies = try DelayLatencies(
            averageRead: 100, slowRead: 300, averageWrite: 100, slowWrite: 300)
        return BlockDevice(
            name: "delay", backend: DelayBackend(try stack.ramDisk(), latencies))
    }

    /// Who has the function, once the software DPU has noticed the death of `dead`.
    private func owner(_ stack: Stack, _ vuid: String, after dead: String) async throws -> String? {
        for _ in 0..<1000 {
            let owner = try await stack.listing(vuid)?.controller
            if owner != dead { return owner }
            try await Task.sleep(for: .milliseconds(2))
        }
        return dead
    }

    @Test(.timeLimit(.minutes(10)), arguments: Seed.sample(Effort.of(24)))
    func `of a virtio-blk function leave one owner`(seed: Seed) async throws {
        var random = seed
        let stack = try await Stack(functionCount: 1)
        let disk = try Self.delayed(stack)
        let vuid = Stack.vuid(0)
        var source = try await stack.service(isMortal: true)
        var old = try await source.create("c0", on: vuid, disk)
        var options = Guest.Options()
        options.isPacked = Bool.random(using: &random)
        let (path, chosen) = (old.hostSocketPath, options)
        let load = try Load(try await onThread { try Guest(path, chosen) })
        for turn in 1...4 {
            #expect(await load.advance(), "turn \(turn)")
            let next = try await stack.service(isMortal: true)
            let (name, formerName) = ("c\(turn)", "c\(turn - 1)")
            let offersFirst = Bool.random(using: &random)
            let former = old
            let notify = Task {
                try? await former.handOver(within: .seconds(5), offeringFor: .zero)
            }
            if offersFirst { await notify.value }
            let listener = try await next.create(name, on: vuid, disk, patience: .seconds(60))
            let dies = Bool.random(using: &random) ? source : next
            try await Task.sleep(for: .microseconds(.random(in: 0...2000, using: &random)))
            try await dies.kill()
            if dies === source {
                #expect(await becomes(.running, listener), "turn \(turn)")
                (source, old) = (next, listener)
                continue
            }
            // The source goes on, or the function is nobody's.
            await notify.value
            if try await owner(stack, vuid, after: name) == formerName {
                if await former.state == .offered { try await former.resume() }
                #expect(await former.state == .running)
                continue
            }
            let heir = try await stack.service(isMortal: true)
            old = try await heir.create(name, on: vuid, disk)
            source = heir
        }
        #expect(await load.advance())
        #expect(try await load.stop() == nil)
        await stack.stop()
    }
}

extension `NVMe functions` {
    @Suite(.serialized) struct `NVMe hand-over with deaths` {
        @Test(.timeLimit(.minutes(10)), arguments: Seed.sample(Effort.of(16)))
        func `leave one owner`(seed: Seed) async throws {
            var random = seed
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let latencies = try DelayLatencies(
                averageRead: 100, slowRead: 300, averageWrite: 100, slowWrite: 300)
            let disk = BlockDevice(
                name: "delay", backend: DelayBackend(try stack.ramDisk(), latencies))
            let vuid = NVMeSubsystems.vuid(0)
            var source = try await stack.service(isMortal: true)
            var old = try await source.nvme.make(0, [disk])
            let path = old.hostSocketPath
            let guest = try await onThread { try NVMeGuest(path) }
            let load = try Load { try guest.verify() }
            for turn in 1...4 {
                #expect(await load.advance(), "turn \(turn)")
                let next = try await stack.service(isMortal: true)
                let listener = try await next.nvme.make(0, [disk], patience: .seconds(60))
                let former = old
                let notify = Task {
                    try? await former.handOver(within: .seconds(5), force: false)
                }
                let dies = Bool.random(using: &random) ? source : next
                try await Task.sleep(for: .microseconds(.random(in: 0...3000, using: &random)))
                try await dies.kill()
                if dies === source {
                    #expect(await becomes(.running, listener), "turn \(turn)")
                    (source, old) = (next, listener)
                    continue
                }
                // The source goes on, or the function is nobody's.
                await notify.value
                if await former.state == .running { continue }
                #expect(await former.state == .handedOver)
                #expect(try await stack.becomesFree(vuid))
                let heir = try await stack.service(isMortal: true)
                old = try await heir.nvme.make(0, [disk], startsSuspended: true)
                try await old.resume()
                source = heir
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            await stack.stop()
        }
    }
}
