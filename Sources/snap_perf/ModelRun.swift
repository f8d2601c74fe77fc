internal import Bdev
internal import Memory
internal import Platform
internal import VirtioBlk
internal import VirtioDriver

/// The device model alone: driver and device take turns in one thread, without sockets. What a
/// request costs the device is then counted by `deviceTurn`, whose turns are all busy.
final class ModelRun {
    private final class NoInterrupt: InterruptLine {
        func raise() -> Bool { true }
    }

    private let mapping: Mapping
    private var driver: BlockDriverQueue
    private var device: BlockQueue
    private let byteCount: Int
    private let depth: Int

    init(_ layout: BlockDriverQueue.Layout) throws {
        byteCount = layout.bufferByteCount
        depth = layout.slotCount
        let logByteCount = 64 + 32 * layout.queueSize
        let file = try MemoryFile.create(
            name: "model", byteCount: UInt64(layout.byteCount + logByteCount))
        mapping = try Mapping(file.number, byteCount: layout.byteCount + logByteCount)
        var driver = BlockDriverQueue(
            layout, in: mapping.bytes.part(at: 0, byteCount: layout.byteCount), guestBase: 4096)
        driver.disableInterrupts()
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: 4096, byteCount: UInt64(layout.byteCount), userAddress: 4096,
                    mapping: mapping, mappingOffset: 0)
            ])
        let disk = BlockDevice(
            name: "Null0",
            backend: NullBackend(BlockGeometry(blockByteCount: 512, blockCount: 1 << 24)))
        let shape = BlockShape(
            sectorCount: 1 << 24, blockByteCount: 512, segmentByteLimit: 65536, segmentLimit: 128,
            queueCount: 1, isReadOnly: false, offersDiscard: true, offersWriteZeroes: true)
        device = try BlockQueue(
            VirtqueueSetup(
                size: layout.queueSize, isPacked: layout.isPacked,
                usesEventIndex: layout.usesEventIndex, allowsIndirect: layout.usesIndirect,
                descriptorArea: driver.descriptorAddress, driverArea: driver.driverAddress,
                deviceArea: driver.deviceAddress, position: VirtqueuePosition()),
            memory: memory,
            log: mapping.bytes.part(at: layout.byteCount, byteCount: logByteCount),
            configuration: BlockQueue.Configuration(
                shape: shape, identifier: [], isInOrder: false),
            channel: try disk.openChannel(
                depth: layout.queueSize, at: ChannelSite(watch: { _ in }, unwatch: { _ in })),
            interrupt: NoInterrupt(), counters: QueueCounters())
        device.disableKicks()
        self.driver = driver
    }

    /// Answers `requestCount` reads, a ring full of `depth` at a time.
    func run(requestCount: Int) throws {
        var sector: UInt64 = 0
        for _ in 0..<requestCount / depth {
            for slot in 0..<depth {
                driver.submit(slot: slot, type: 0, sector: sector, byteCount: byteCount)
                sector = (sector &+ 8) & 0xFFFF
            }
            _ = driver.publish()
            deviceTurn()
            for _ in 0..<depth {
                guard let answer = driver.reap(), answer.status == 0 else {
                    throw PerfError("the device model lost a request")
                }
            }
        }
    }

    /// One turn of the device: the only thing that is counted.
    @inline(never)
    private func deviceTurn() { _ = device.poll(now: .now()) }
}
