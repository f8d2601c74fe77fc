import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Synchronization
import Testing
import VhostUser

/// Live migration of a virtio-blk function's guest, as far as the device goes. The RDMA data path
/// offers no log of pages.
@Suite(.serialized, .enabled(if: PathUnderTest.isMapped)) struct `Migration` {
    /// Requests are under way for a while, so that memory can be copied before they are answered.
    private static func slow(_ stack: Stack) throws -> BlockDevice {
        let latencies = try DelayLatencies(
            averageRead: 3000, slowRead: 6000, averageWrite: 100, slowWrite: 300)
        return BlockDevice(
            name: "delay", backend: DelayBackend(try stack.ramDisk(), latencies))
    }

    /// Reads that are under way when all memory is copied, and what happens meanwhile.
    private func rounds(
        _ count: Int, _ moving: MigratingGuest, meanwhile: (Int) async throws -> Void = { _ in }
    ) async throws {
        for round in 0..<count {
            moving.guest.submitReads()
            moving.copyAll()
            try await meanwhile(round)
            try await onThread { try moving.guest.collect(seconds: 30) }
            let isEqual = try await onThread { moving.catchesUp() }
            #expect(isEqual, "round \(round)")
        }
    }

    private func connect(
        _ controller: VirtioBlkController, isPacked: Bool
    ) async throws -> MigratingGuest {
        let path = controller.hostSocketPath
        return try await onThread {
            let moving = try MigratingGuest(path, isPacked: isPacked)
            try moving.guest.verify(rounds: 1)
            return moving
        }
    }

    @Test(arguments: [false, true])
    func `marks all that it writes, from the answer on`(isPacked: Bool) async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, try Self.slow(stack))
        let moving = try await connect(controller, isPacked: isPacked)
        for _ in 0..<3 {
            // What is under way when it begins is marked too.
            moving.guest.submitReads()
            try await onThread { try moving.begin() }
            moving.copyAll()
            try await onThread { try moving.guest.collect() }
            #expect(try await onThread { moving.catchesUp() })
            try await rounds(5, moving)
            // Another log in its place: nothing goes to the old one any more.
            try await onThread { try moving.begin() }
            try await rounds(2, moving)
            try await onThread { try moving.end() }
            moving.copyMarked()
            try await onThread { try moving.guest.verify(rounds: 2) }
            #expect(moving.copyMarked() == 0)
        }
        await stack.stop()
    }

    @Test(arguments: [false, true])
    func `costs no request when it begins and ends`(isPacked: Bool) async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, try stack.ramDisk())
        let moving = try await connect(controller, isPacked: isPacked)
        let load = try Load(moving.guest)
        for _ in 0..<20 {
            #expect(await load.advance())
            try await onThread { try moving.begin() }
            #expect(await load.advance())
            #expect(moving.copyMarked() > 0)
            try await onThread { try moving.end() }
        }
        #expect(try await load.stop() == nil)
        await stack.stop()
    }

    @Test(arguments: [false, true])
    func `goes on by another service when one dies`(isPacked: Bool) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try Self.slow(stack)
        var service = try await stack.service(isMortal: true)
        let controller = try await service.create("c0", on: Stack.vuid(0), disk)
        let moving = try await connect(controller, isPacked: isPacked)
        try await onThread { try moving.begin() }
        try await rounds(6, moving) { round in
            let next = try await stack.service(isMortal: true)
            try await Task.sleep(for: .milliseconds(round))
            try await service.kill()
            #expect(try await stack.becomesFree(Stack.vuid(0)))
            _ = try await next.create("c\(round + 1)", on: Stack.vuid(0), disk)
            service = next
        }
        await stack.stop()
    }

    @Test(arguments: [false, true])
    func `goes on by a listener`(isPacked: Bool) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try Self.slow(stack)
        var old = try await stack.create("c0", on: Stack.vuid(0), disk)
        let moving = try await connect(old, isPacked: isPacked)
        try await onThread { try moving.begin() }
        try await rounds(4, moving) { round in
            let next = try await stack.service()
            let listener = try await next.create(
                "c\(round + 1)", on: Stack.vuid(0), disk, patience: .seconds(60))
            try await old.handOver(within: .seconds(5), offeringFor: .zero)
            #expect(await becomes(.running, listener))
            old = listener
        }
        await stack.stop()
    }

    @Test(arguments: [false, true])
    func `goes on when the software DPU is killed`(isPacked: Bool) async throws {
        try await `Kept software DPU`().withService { stack, controller in
            let moving = try await connect(controller, isPacked: isPacked)
            try await onThread { try moving.begin() }
            try await rounds(6, moving) { round in
                if round % 2 == 1 { return }
                stack.crash()
                try stack.start()
            }
            // The next process still knows what to end.
            try await onThread { try moving.end() }
            moving.copyMarked()
            try await onThread { try moving.guest.verify(rounds: 2) }
            #expect(moving.copyMarked() == 0)
        }
    }

    @Test(arguments: [false, true])
    func `waits with its end for a service that answers what is under way`(
        isPacked: Bool
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try Self.slow(stack)
        let service = try await stack.service(isMortal: true)
        let controller = try await service.create("c0", on: Stack.vuid(0), disk)
        let moving = try await connect(controller, isPacked: isPacked)
        try await onThread { try moving.begin() }
        moving.guest.submitReads()
        moving.copyAll()
        try await Task.sleep(for: .milliseconds(1))
        try await service.kill()
        #expect(try await stack.becomesFree(Stack.vuid(0)))
        let isAnswered = Atomic<Bool>(false)
        async let base = onThread {
            let base = try moving.guest.stop()
            isAnswered.store(true, ordering: .relaxed)
            return base
        }
        try await Task.sleep(for: .milliseconds(200))
        let isTooEarly = isAnswered.load(ordering: .relaxed)
        #expect(!isTooEarly)
        _ = try await stack.service().create("c1", on: Stack.vuid(0), disk)
        // One round of writes and reads, and the reads: all of them taken and answered.
        let position = try await base
        if !isPacked { #expect(position == 48) }
        if isPacked { #expect(position & 0xFFFF == position >> 16) }
        try await onThread { try moving.guest.collect() }
        #expect(try await onThread { moving.catchesUp() })
        await stack.stop()
    }

    @Test(.enabled(if: Effort.survivesAtomicFaults, "ThreadSanitizer stands still in a fault"))
    func `fails the function, and no other, when its log is cut short`() async throws {
        let stack = try await Stack(functionCount: 2)
        let controller = try await stack.create(0, try stack.ramDisk())
        let other = try await stack.create(1, try stack.ramDisk())
        let bystander = try await connect(other, isPacked: false)
        let path = "/dev/shm/softsnap-log-\(ProcessFacts.identifier)"
        let file = SharedDescriptor(try FileSystem.open(path, .replace))
        try FileSystem.remove(path)
        try FileSystem.resize(file.number, byteCount: 1 << 20)
        let socket = controller.hostSocketPath
        let moving = try await onThread {
            try MigratingGuest(socket, isPacked: false, log: file)
        }
        try await onThread { try moving.begin() }
        try FileSystem.resize(file.number, byteCount: 0)
        moving.guest.submitReads()
        #expect(try await onThread { try moving.guest.needsReset() })
        #expect(await stack.hasLogged("the dirty log was truncated by the front end"))
        try await onThread { try bystander.guest.verify(rounds: 3) }
        await stack.stop()
    }
}
