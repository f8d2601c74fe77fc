internal import Memory
internal import Platform
internal import VhostUser
internal import VirtioDriver

/// A connected device with its queues started: memory shared, rings made, interrupts off.
final class PerfSession {
    struct Options {
        var socket: String
        var queueCount = 1
        var layout: BlockDriverQueue.Layout
        var isPacked = false
        var usesEventIndex = false
        var usesIndirect = false
    }

    /// Where the guest's memory begins: not at zero, so that a forgotten translation shows.
    private static let guestStart: UInt64 = 1 << 32
    private static let userStart: UInt64 = 1 << 40

    let frontEnd: FrontEnd
    let disk: DiskFacts
    private let mapping: Mapping
    private(set) var rings: [PerfRing] = []

    init(_ options: Options) throws {
        frontEnd = try FrontEnd(path: options.socket)
        disk = DiskFacts(configuration: try frontEnd.configuration(byteCount: 60))
        let limit = try frontEnd.queueLimit()
        guard options.queueCount <= limit else {
            throw VhostUserError("the device has \(limit) queues, not \(options.queueCount)")
        }
        let features = try PerfSession.features(options, offered: frontEnd.deviceFeatures)
        try frontEnd.setFeatures(features)
        let stride = options.layout.byteCount
        let byteCount = (stride * options.queueCount + 0x1F_FFFF) & ~0x1F_FFFF
        let file = SharedDescriptor(
            try MemoryFile.create(name: "guest", byteCount: UInt64(byteCount)))
        mapping = try Mapping(file.number, byteCount: byteCount)
        try frontEnd.setMemory([
            FrontEnd.Region(
                guestAddress: Self.guestStart, userAddress: Self.userStart,
                byteCount: UInt64(byteCount), file: file)
        ])
        for index in 0..<options.queueCount {
            rings.append(try start(index, options.layout, at: index * stride))
        }
        if frontEnd.protocolFeatures.contains(.status) { try frontEnd.setStatus(15) }
    }

    private static func features(_ options: Options, offered: UInt64) throws -> UInt64 {
        var wanted: UInt64 = 1 << 32  // VERSION_1
        if options.isPacked { wanted |= 1 << 34 }
        if options.usesEventIndex { wanted |= 1 << 29 }
        if options.usesIndirect { wanted |= 1 << 28 }
        guard wanted & ~offered == 0 else {
            throw VhostUserError(
                "the device does not offer features 0x\(String(wanted & ~offered, radix: 16))")
        }
        // Size and segment limits, block size, multiple queues: taken when they are there.
        return wanted | offered & (1 << 1 | 1 << 2 | 1 << 6 | 1 << 9 | 1 << 12)
    }

    private func start(
        _ index: Int, _ layout: BlockDriverQueue.Layout, at offset: Int
    ) throws -> PerfRing {
        let bytes = mapping.bytes.part(at: offset, byteCount: layout.byteCount)
        var queue = BlockDriverQueue(
            layout, in: bytes, guestBase: Self.guestStart + UInt64(offset))
        queue.disableInterrupts()
        let user = Self.userStart &- Self.guestStart
        let kick = SharedDescriptor(try EventDescriptor.create())
        let call = SharedDescriptor(try EventDescriptor.create())
        try frontEnd.start(
            FrontEnd.Queue(
                index: index, size: layout.queueSize,
                descriptorArea: queue.descriptorAddress + user,
                driverArea: queue.driverAddress + user, deviceArea: queue.deviceAddress + user,
                base: layout.isPacked ? 0x8000_8000 : 0, kick: kick, call: call))
        return PerfRing(queue, kick: kick, firstSlot: index * layout.slotCount)
    }

    func stop() throws {
        for index in rings.indices { _ = try frontEnd.stop(queue: index) }
    }
}

/// One started queue and its doorbell.
final class PerfRing {
    var queue: BlockDriverQueue
    private let kick: SharedDescriptor
    /// By slot: when its request was submitted.
    var started: [Ticks]
    /// Slots whose next request waits until the rate allows it.
    var idle: [Int] = []
    /// Number of its slot 0 among those of all queues.
    let firstSlot: Int

    init(_ queue: consuming BlockDriverQueue, kick: SharedDescriptor, firstSlot: Int) {
        self.firstSlot = firstSlot
        started = Array(repeating: Ticks(0), count: queue.layout.slotCount)
        self.queue = queue
        self.kick = kick
    }

    func ring() { EventDescriptor.signal(kick.number) }
}

/// What the configuration space says of the disk (Virtio 1.2 §5.2.4).
struct DiskFacts {
    let sectorCount: UInt64
    let blockByteCount: Int

    init(configuration: [UInt8]) {
        sectorCount = ByteLayout.load(UInt64.self, from: configuration) ?? 0
        let size = ByteLayout.load(UInt32.self, from: configuration, at: 20) ?? 512
        blockByteCount = size == 0 ? 512 : Int(size)
    }
}
