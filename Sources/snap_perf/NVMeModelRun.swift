internal import Bdev
internal import Memory
internal import NVMe
internal import Platform

/// The NVMe device model alone: driver and device take turns in one thread, without sockets. What a
/// command costs the device is then counted by `deviceTurn`, whose turns are all busy.
final class NVMeModelRun {
    private final class NoInterrupt: InterruptLine {
        func raise() -> Bool { true }
    }

    private static let guestStart: UInt64 = 1 << 32
    private static let entryCount = 256
    private static let completionOffset = 64 * entryCount
    private static let dataOffset = completionOffset + 4096
    private static let doorbellOffset = 8

    private let mapping: Mapping
    private let page: Mapping
    private var device: IOQueue
    private let blockCount: Int
    private let byteCount: Int
    private let depth: Int
    private var tail = 0
    private var head = 0
    private var phase: UInt64 = 1

    init(byteCount: Int, depth: Int) throws {
        guard depth < Self.entryCount, byteCount <= 4096 else {
            throw PerfError("the model run takes depths to 255 and sizes to 4096")
        }
        self.byteCount = byteCount
        self.depth = depth
        blockCount = byteCount / 512
        let size = Self.dataOffset + depth * 4096
        mapping = try Self.fresh(size)
        page = try Self.fresh(4096)
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: Self.guestStart, byteCount: UInt64(size),
                    userAddress: Self.guestStart, mapping: mapping, mappingOffset: 0)
            ])
        let journal = try NVMeMemory(
            adopting: try Self.fresh(NVMeMemory.byteCount(queueCount: 2)), queueCount: 2)
        let disk = BlockDevice(
            name: "Null0",
            backend: NullBackend(BlockGeometry(blockByteCount: 512, blockCount: 1 << 24)))
        device = try IOQueue(
            CompletionQueueSetup(
                id: 1, address: Self.guestStart + UInt64(Self.completionOffset),
                size: Self.entryCount, vector: 0, isInterruptEnabled: false,
                head: .page(page.bytes.part(at: Self.doorbellOffset + 4, byteCount: 4))),
            memory: memory, journal: journal, interrupt: NoInterrupt(),
            shape: QueueShape(transferByteLimit: 1 << 17, namespaceLimit: 16),
            counters: QueueCounters())
        try device.add(
            SubmissionQueueSetup(
                id: 1, address: Self.guestStart, size: Self.entryCount, completionQueue: 1,
                tail: .page(page.bytes.part(at: Self.doorbellOffset, byteCount: 4))))
        device.attach(
            NamespaceView(id: 1, blockShift: 9, blockCount: 1 << 24),
            channel: try disk.openChannel(
                depth: IOQueue.channelDepth, at: ChannelSite(watch: { _ in }, unwatch: { _ in })))
    }

    private static func fresh(_ byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "model", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }

    /// Answers `commandCount` reads, `depth` at a time.
    func run(commandCount: Int) throws {
        var block: UInt64 = 0
        for _ in 0..<commandCount / depth {
            for slot in 0..<depth {
                submit(slot, block)
                block = (block &+ 8) & 0xFFFF
            }
            page.bytes.storeRelease32(UInt32(tail), at: Self.doorbellOffset)
            deviceTurn()
            for _ in 0..<depth { try reap() }
            page.bytes.storeRelease32(UInt32(head), at: Self.doorbellOffset + 4)
        }
    }

    private func submit(_ slot: Int, _ block: UInt64) {
        let data = Self.guestStart + UInt64(Self.dataOffset + slot * 4096)
        mapping.bytes.store(
            CacheLine(
                2 | UInt64(slot) << 16 | 1 << 32, 0, 0, data, 0, block, UInt64(blockCount - 1), 0),
            at: 64 * tail)
        tail = (tail + 1) % Self.entryCount
    }

    private func reap() throws {
        let word = mapping.bytes.loadAcquire64(at: Self.completionOffset + 16 * head + 8)
        guard word >> 48 & 1 == phase, word >> 49 == 0 else {
            throw PerfError("the device model lost a command")
        }
        head += 1
        if head == Self.entryCount {
            head = 0
            phase ^= 1
        }
    }

    /// One turn of the device: the only thing that is counted.
    @inline(never)
    private func deviceTurn() { _ = device.poll(now: .now()) }
}
