import Bdev
import MallocProbe
import Memory
import Platform
import Testing
import VirtioBlk
import VirtioDriver

@Suite(.serialized) struct `Allocation in the request path` {
    static let rounds = 31_250
    static let depth = 32

    struct Ring: Sendable, CustomStringConvertible {
        var isPacked = false
        var usesIndirect = false
        var hasLog = false
        var marksPages = false
        var description: String {
            (isPacked ? "packed" : "split") + (usesIndirect ? ", indirect" : "")
                + (hasLog ? ", logged" : "") + (marksPages ? ", marked" : "")
        }
    }

    /// The real path, driven by the polling driver: reads and writes of 512 bytes.
    private func run(_ ring: Ring, _ backend: any Backend) throws {
        var layout = BlockDriverQueue.Layout(
            queueSize: 128, slotCount: Self.depth, bufferByteCount: 512)
        layout.isPacked = ring.isPacked
        layout.usesEventIndex = true
        layout.usesIndirect = ring.usesIndirect
        let mapping = try Mapping.fresh(byteCount: layout.byteCount)
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: 1 << 32, byteCount: UInt64(mapping.byteCount),
                    userAddress: 1 << 40, mapping: mapping, mappingOffset: 0)
            ])
        var driver = BlockDriverQueue(layout, in: mapping.bytes, guestBase: 1 << 32)
        let user: UInt64 = (1 << 40) - (1 << 32)
        let disk = BlockDevice(name: "disk", backend: backend)
        let log = ring.hasLog ? try Mapping.fresh(byteCount: 8192) : nil
        let bitmap = try Mapping.fresh(byteCount: 256 << 10)
        let marks = DirtyMarks(
            DirtyLog(bitmap, offset: 0, byteCount: bitmap.byteCount),
            deviceArea: driver.deviceAddress)
        var queue = try BlockQueue(
            VirtqueueSetup(
                size: 128, isPacked: ring.isPacked, usesEventIndex: true, allowsIndirect: true,
                descriptorArea: driver.descriptorAddress + user,
                driverArea: driver.driverAddress + user, deviceArea: driver.deviceAddress + user,
                position: VirtqueuePosition()),
            memory: memory, log: log?.bytes,
            configuration: QueueBench.configuration(disk, isInOrder: false),
            channel: try disk.openChannel(depth: 128, at: .unwatched), interrupt: CountingLine(),
            counters: QueueCounters(), dirty: ring.marksPages ? marks : nil)
        _ = Self.turns(2, &driver, &queue)
        let allocations = malloc_probe_count()
        let start = Clock.threadNanoseconds()
        let ended = Self.turns(Self.rounds, &driver, &queue)
        let time = Clock.threadNanoseconds() - start
        #expect(malloc_probe_count() == allocations)
        #expect(ended == Self.rounds * Self.depth)
        print("\(ring), \(backend.productName): \(time / UInt64(ended)) ns a request")
    }

    /// - Returns: requests that ended well.
    private static func turns(
        _ count: Int, _ driver: inout BlockDriverQueue, _ queue: inout BlockQueue
    ) -> Int {
        var ended = 0
        let now = Ticks(1000)
        for round in 0..<count {
            for slot in 0..<depth {
                driver.submit(
                    slot: slot, type: UInt32((slot + round) & 1), sector: UInt64(slot),
                    byteCount: 512)
            }
            _ = driver.publish()
            _ = queue.poll(now: now)
            while let answer = driver.reap() { ended += answer.status == 0 ? 1 : 0 }
            _ = driver.enableInterrupts()
            _ = queue.enableKicks()
            queue.disableKicks()
        }
        return ended
    }

    @Test(
        .enabled(if: malloc_probe_is_active()),
        arguments: [
            Ring(), Ring(usesIndirect: true), Ring(isPacked: true),
            Ring(isPacked: true, usesIndirect: true), Ring(hasLog: true),
            Ring(isPacked: true, hasLog: true), Ring(marksPages: true),
            Ring(isPacked: true, hasLog: true, marksPages: true),
        ])
    func `a million requests allocate nothing`(ring: Ring) throws {
        let geometry = QueueBench.geometry
        try run(ring, NullBackend(geometry))
        let disk = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        try run(ring, MallocBackend(disk, geometry))
    }

    @Test(.enabled(if: malloc_probe_is_active()))
    func `the probe sees an allocation`() {
        let before = malloc_probe_count()
        let array = [Int](repeating: 1, count: 1000)
        #expect(malloc_probe_count() > before && array.count == 1000)
    }
}
