import Platform
import RDMA
import Testing

@Suite(.serialized, .enabled(if: TestDevice.isThere, TestDevice.reason))
struct `RDMA devices` {
    @Test func `tell their limits and addresses`() throws {
        let device = try TestDevice.open()
        #expect(VerbsDevice.names.contains(device.name))
        #expect(device.limits.queuePairs > 32 && device.limits.memoryRegions > 0)
        let port = try device.port()
        #expect(port.isActive && port.packetByteCount >= 1024)
        #expect(port.identifiers.contains { $0.isRouted && $0.address != nil })
        #expect(throws: RDMAError.self) { try device.port(99) }
    }

    @Test func `refuse depths that they never give`() throws {
        let world = try World()
        let limit = world.device.limits.workRequestsPerQueuePair
        for depth in [0, -1, limit + 1] {
            let refusal = RDMAError.beyondLimit(
                device: world.device.name, parameter: "sendDepth", wanted: depth, limit: limit)
            #expect(throws: refusal) { try world.queuePair(sends: depth) }
        }
        #expect(throws: RDMAError.self) { try world.queuePair(receives: -1) }
        #expect(throws: RDMAError.self) { try CompletionQueue(world.device, capacity: 0) }
        let most = world.device.limits.entriesPerCompletionQueue
        #expect(throws: RDMAError.self) { try CompletionQueue(world.device, capacity: most + 1) }
        #expect(world.queue.free == world.queue.capacity)
    }

    @Test func `have no queue pair without an entry for each of its requests`() throws {
        let world = try World(entries: 40)
        var pairs = [try world.queuePair(sends: 16, receives: 16)]
        #expect(throws: RDMAError.completionQueueFull(wanted: 9, free: 8, capacity: 40)) {
            try world.queuePair(sends: 9, receives: 1)
        }
        // The sends' share comes back when the receives' is missing.
        #expect(throws: RDMAError.completionQueueFull(wanted: 4, free: 3, capacity: 40)) {
            try world.queuePair(sends: 5, receives: 4)
        }
        pairs.append(try world.queuePair(sends: 4, receives: 4))
        #expect(world.queue.free == 0)
        pairs.removeAll()
        #expect(world.queue.free == 40)
    }

    /// In the guest two maps a queue pair are the limit (vm.max_map_count).
    @Test func `say when they give no further queue pair, and give them again`() throws {
        let world = try World()
        let queue = try CompletionQueue(world.device, capacity: 32_000)
        func fill() -> (count: Int, error: RDMAError?) {
            var pairs: [QueuePair] = []
            let shape = QueuePair.Shape(sendDepth: 1, receiveDepth: 0)
            while pairs.count < 16_000 {
                do throws(RDMAError) {
                    pairs.append(
                        try QueuePair(world.domain, sends: queue, receives: queue, shape))
                } catch {
                    return (pairs.count, error)
                }
            }
            return (pairs.count, nil)
        }
        let refusal = RDMAError.exhausted(
            device: world.device.name, .queuePair, advertised: world.device.limits.queuePairs)
        let first = fill()
        #expect(first.error == refusal)
        #expect(first.count > 32 && first.count < world.device.limits.queuePairs)
        let again = fill()
        #expect(again.error == refusal && again.count >= first.count - 8)
        #expect(queue.free == queue.capacity)
        #expect(try world.device.grant(ofQueuePairs: 40).count == 40)
        let grant = try world.device.grant(ofQueuePairs: 20_000)
        #expect(grant.wanted == 20_000 && grant.count > 32 && grant.count < 20_000)
        #expect(grant.refusal?.errorNumber == 12)
    }
}

/// Runs under `ulimit -l 64` and without CAP_IPC_LOCK, as test_rdma_guest.py starts it.
@Suite(
    .enabled(
        if: TestDevice.isThere && ProcessFacts.lockedMemoryLimit.map { $0 <= 65_536 } == true,
        "the process may lock more than 64 KiB"))
struct `Locked memory` {
    @Test func `limits what can be registered`() throws {
        let device = try TestDevice.open()
        let domain = try ProtectionDomain(device)
        let mapping = try Mapping.fresh(byteCount: 1 << 20)
        _ = try MemoryRegion(domain, mapping, byteCount: 4096)
        let refusal = RDMAError.regionRefused(
            device: device.name, byteCount: 1 << 20, lockLimit: ProcessFacts.lockedMemoryLimit,
            advertised: device.limits.memoryRegions)
        #expect(throws: refusal) {
            try MemoryRegion(domain, mapping, byteCount: 1 << 20)
        }
    }
}
