import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Testing
import VhostUser
import VirtioDriver

/// The card's changes again and again, with machines at work: nothing may be lost, leak, or come
/// late. A short round in every run; `make soak` sets SOFTSNAP_SOAK=1 for the long one.
@Suite(.serialized) struct `Endurance` {
    static let isLong = ProcessFacts.environment("SOFTSNAP_SOAK") == "1"
    static let canary: UInt8 = 0xC3

    /// What must be the same before and after.
    private struct Footing: Equatable {
        var functions: [FunctionListing]
        /// Counted in the long run only: in the short one other suites open files meanwhile.
        var descriptorCount: Int
    }

    private func footing(_ stack: Stack) async throws -> Footing {
        Footing(
            functions: try await stack.manager.functions(),
            descriptorCount: Self.isLong
                ? try FileSystem.entries(of: "/proc/self/fd").count : 0)
    }

    private func report(_ name: String, _ count: Int, since start: UInt64) {
        let seconds = Double(Clock.monotonicNanoseconds() - start) / 1e9
        print("figure: soak.\(name) \(count) rounds (\(seconds) s)")
    }

    @Test(.timeLimit(.minutes(60)))
    func `of plugging and unplugging`() async throws {
        let count = Self.isLong ? 10_000 : 30
        let stack = try await Stack(functionCount: 1)
        let device = try stack.ramDisk()
        try await plugAndUnplug(stack, device, isVisited: true)
        let before = try await footing(stack)
        let start = Clock.monotonicNanoseconds()
        for round in 0..<count {
            try await plugAndUnplug(stack, device, isVisited: round % 4 == 0)
        }
        #expect(try await footing(stack) == before)
        report("plug_unplug", count, since: start)
        await stack.stop()
    }

    private func plugAndUnplug(
        _ stack: Stack, _ device: BlockDevice, isVisited: Bool
    ) async throws {
        let vuid = try await stack.manager.createFunction(FunctionRequest(kind: .virtioBlk)).vuid
        let controller = try await stack.create("h", on: vuid, device)
        try await stack.manager.plug(vuid: vuid)
        if isVisited {
            let path = controller.hostSocketPath
            try await onThread {
                let guest = try Guest(path)
                try guest.verify(rounds: 1)
                guest.submitWrites()
            }
        }
        try await stack.manager.unplug(vuid: vuid)
        while try await stack.listing(vuid)?.hotplugState != .powerOff {
            try await Task.sleep(for: .milliseconds(1))
        }
        try await stack.controllers.destroy("h")
        try await stack.manager.destroyFunction(vuid: vuid, force: false)
    }

    @Test(.timeLimit(.minutes(60)))
    func `of resets with requests under way`() async throws {
        let count = Self.isLong ? 10_000 : 100
        let stack = try await Stack(functionCount: 1)
        let path = try await stack.create(0, stack.ramDisk()).hostSocketPath
        let start = Clock.monotonicNanoseconds()
        let late = try await onThread {
            var random = Seed.sample(1)[0]
            print("resets: \(random)")
            let guest = try Guest(path)
            var sum = 0
            for _ in 0..<count {
                guest.submitWrites()
                if random.oneIn(2) { Clock.sleep(nanoseconds: UInt64(random.pick(0...100_000))) }
                try guest.frontEnd.setStatus(0)
                sum += lateBytes(guest)
                try guest.restart()
                try guest.verify(rounds: 1)
            }
            return sum
        }
        #expect(late == 0)
        report("resets", count, since: start)
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(60)))
    func `of power cycles under load`() async throws {
        let count = Self.isLong ? 1000 : 10
        let stack = try await Stack(functionCount: 2, vfCount: 2, isEmbedded: false)
        let before = try await footing(stack)
        let start = Clock.monotonicNanoseconds()
        for _ in 0..<count { try await powerCycle(stack) }
        #expect(try await footing(stack) == before)
        report("power_cycles", count, since: start)
        await stack.stop()
    }

    /// A service of its own, a machine at work, and the power goes.
    private func powerCycle(_ stack: Stack) async throws {
        let service = try await stack.service()
        let device = try stack.ramDisk()
        let controller = try await service.create("c", on: Stack.vuid(0), device)
        let plugged = try await service.manager.createFunction(FunctionRequest(kind: .virtioBlk))
        try await service.manager.reclaimVectors(vuid: Stack.vuid(0))
        let path = controller.hostSocketPath
        let guest = try await onThread {
            let guest = try Guest(path)
            try guest.verify(rounds: 1)
            guest.submitWrites()
            return guest
        }
        try await stack.manager.powerCycle()
        #expect(lateBytes(guest) == 0)
        #expect(try await stack.listing(plugged.vuid) == nil)
        await service.controllers.closeAll()
    }
}

/// Bytes of the used ring that change although the device should be quiet.
private func lateBytes(_ guest: Guest) -> Int {
    let used = guest.driver.deviceAddress - Guest.guestStart
    let area = guest.mapping.bytes.part(at: Int(used), byteCount: 512).segment
    area.fill(with: Endurance.canary)
    Clock.sleep(nanoseconds: 500_000)
    return area.bytes().count { $0 != Endurance.canary }
}
