import Bdev
import Memory
import Platform
import Seeds
import Testing
import VirtioBlk

extension MirrorWorld {
    /// A service: its staging memory, its queue pair and its queue.
    final class Service {
        let queue: MirroredQueue
        let host: SimulatedHostChannel
        let storage: BlockChannel
        let counters: QueueCounters
        private let number: UInt32

        init(
            _ world: MirrorWorld, position: VirtqueuePosition, random: inout Seed
        ) throws {
            let mapping = try Mapping.fresh(byteCount: 6 * StagingArea.chunkByteCount)
            let staging = StagingArea(mapping, chunkCount: random.pick(2...4))
            let wire = world.sharedWire ?? SimulatedWire(depth: random.pick(1...40))
            wire.reordersWrites = world.options.reordersWrites
            host = SimulatedHostChannel(
                world.space, log: world.log, line: world.line, over: wire)
            number = try #require(wire.ledger.nextNumber)
            counters = QueueCounters()
            let shape = world.driver.shape
            let user = HostSpace.ringStart + HostSpace.userShift
            let setup = VirtqueueSetup(
                size: shape.size, isPacked: shape.isPacked, usesEventIndex: shape.usesEventIndex,
                allowsIndirect: shape.allowsIndirect, descriptorArea: user,
                driverArea: user + UInt64(SimulatedDriver.driverOffset),
                deviceArea: user + UInt64(SimulatedDriver.deviceOffset), position: position)
            storage = try world.disk.openChannel(depth: 4 * shape.size, at: .unwatched)
            queue = try MirroredQueue(
                setup,
                at: MirroredQueue.Place(memory: host.memory, log: host.log, run: world.run),
                staging: staging, channel: host, number: number,
                configuration: world.configuration, device: storage, counters: counters,
                message: [1, 2, 3])
            wire.ledger.add(queue, number: number)
            if world.options.breaksConnection && random.oneIn(2) { wire.close() }
            queue.interruptAnyway()
        }

        /// Nothing of it is under way.
        func close() {
            queue.close()
            host.wire.ledger.remove(number)
        }
    }
}
