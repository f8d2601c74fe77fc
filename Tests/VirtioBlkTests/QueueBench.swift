import Bdev
import Memory
import Platform
import VirtioBlk
import VirtioDriver

/// One block queue over one region of memory, with canaries before and behind it.
final class QueueBench {
    struct Options {
        var size = 16
        var isPacked = false
        var usesEventIndex = false
        var allowsIndirect = true
        var hasLog = false
        var isInOrder = false
        var position = VirtqueuePosition()
        var backend: (any Backend)?
    }

    static let guestStart: UInt64 = 0x4000_0000
    static let userStart: UInt64 = 0x7000_0000_0000
    static let byteCount = 64 * 1024
    static let canaryByteCount = 4096
    static let driverOffset = 8192
    static let deviceOffset = 16384
    static let dataOffset = 24576
    static let geometry = BlockGeometry(blockByteCount: 512, blockCount: 64)

    let mapping: Mapping
    let memory: HostMemory
    let line: CountingLine
    let options: Options
    var log: Mapping?
    let disk: BlockDevice
    let channel: BlockChannel
    var queue: BlockQueue
    var now = Ticks(1000)

    /// - Parameter mapping: memory to use again; it keeps what it holds.
    init(_ options: Options = Options(), mapping: Mapping? = nil, log: Mapping? = nil) throws {
        let whole = Self.byteCount + 2 * Self.canaryByteCount
        let mapping = try mapping ?? Mapping.fresh(byteCount: whole)
        self.mapping = mapping
        self.options = options
        memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: Self.guestStart, byteCount: UInt64(Self.byteCount),
                    userAddress: Self.userStart, mapping: mapping,
                    mappingOffset: Self.canaryByteCount)
            ])
        line = CountingLine()
        self.log = try log ?? (options.hasLog ? Mapping.fresh(byteCount: 8192) : nil)
        disk = BlockDevice(
            name: "disk", backend: options.backend ?? NullBackend(Self.geometry))
        channel = try disk.openChannel(depth: max(1, options.size), at: .unwatched)
        queue = try BlockQueue(
            Self.setup(options), memory: memory, log: self.log?.bytes,
            configuration: Self.configuration(disk, isInOrder: options.isInOrder),
            channel: channel, interrupt: line, counters: QueueCounters())
    }

    deinit {
        queue.discard()
        for _ in 0..<10_000 where !queue.isDrained {
            _ = queue.poll(now: now)
            now = max(now.advanced(by: 1000), channel.wakeTime ?? now)
        }
    }

    static func setup(_ options: Options) -> VirtqueueSetup {
        VirtqueueSetup(
            size: options.size, isPacked: options.isPacked,
            usesEventIndex: options.usesEventIndex, allowsIndirect: options.allowsIndirect,
            descriptorArea: userStart, driverArea: userStart + UInt64(driverOffset),
            deviceArea: userStart + UInt64(deviceOffset), position: options.position)
    }

    static func configuration(
        _ disk: BlockDevice, isInOrder: Bool
    ) -> BlockQueue.Configuration {
        BlockQueue.Configuration(
            shape: BlockShape(
                sectorCount: disk.geometry.byteCount / 512,
                blockByteCount: disk.geometry.blockByteCount, segmentByteLimit: 65536,
                segmentLimit: 16, queueCount: 1, isReadOnly: disk.backend.isReadOnly,
                offersDiscard: true, offersWriteZeroes: true),
            identifier: Array("serial".utf8), isInOrder: isInOrder)
    }

    /// The region, without its canaries.
    var bytes: SharedBytes {
        mapping.bytes.part(at: Self.canaryByteCount, byteCount: Self.byteCount)
    }

    func address(_ offset: Int) -> UInt64 { Self.guestStart + UInt64(offset) }

    /// A driver for the ring.
    func ring() -> DriverRing {
        let areas = DriverRing.areaByteCounts(size: options.size, isPacked: options.isPacked)
        return DriverRing(
            size: options.size, isPacked: options.isPacked,
            usesEventIndex: options.usesEventIndex,
            descriptors: bytes.part(at: 0, byteCount: 16 * options.size),
            driver: bytes.part(at: Self.driverOffset, byteCount: areas.driver),
            device: bytes.part(at: Self.deviceOffset, byteCount: areas.device),
            start: options.position.nextAvailable)
    }

    // --- the ring by hand (split) ---

    func describe(
        _ index: Int, address: UInt64, length: Int, flags: Int, next: Int = 0
    ) {
        bytes.store(address, at: 16 * index)
        bytes.store(UInt32(length), at: 16 * index + 8)
        bytes.store(UInt16(flags), at: 16 * index + 12)
        bytes.store(UInt16(next), at: 16 * index + 14)
    }

    /// Makes `heads` available, from ring entry 0 on.
    func offer(_ heads: [Int], index: UInt16? = nil) {
        for (entry, head) in heads.enumerated() {
            bytes.store(UInt16(head), at: Self.driverOffset + 4 + 2 * entry)
        }
        bytes.storeRelease16(index ?? UInt16(heads.count), at: Self.driverOffset + 2)
    }

    func header(type: UInt32, sector: UInt64, at offset: Int) {
        bytes.store(type, at: offset)
        bytes.store(sector, at: offset + 8)
    }

    var usedIndex: UInt16 { bytes.loadAcquire16(at: Self.deviceOffset + 2) }

    func used(_ entry: Int) -> (id: UInt32, written: UInt32) {
        let offset = Self.deviceOffset + 4 + 8 * entry
        return (bytes.load(UInt32.self, at: offset), bytes.load(UInt32.self, at: offset + 4))
    }

    func poll(_ times: Int = 1) {
        for _ in 0..<times {
            _ = queue.poll(now: now)
            now = max(now.advanced(by: 1), channel.wakeTime ?? now)
        }
    }

    var fault: QueueFault? {
        if case .failed(let fault) = queue.phase { return fault }
        return nil
    }
}

/// An interrupt line that counts, and refuses when told to.
final class CountingLine: InterruptLine {
    var raised = 0
    var isBlocked = false

    func raise() -> Bool {
        raised += 1
        return !isBlocked
    }
}

extension ChannelSite {
    static var unwatched: ChannelSite { ChannelSite(watch: { _ in }, unwatch: { _ in }) }
}

extension Mapping {
    static func fresh(byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }
}
