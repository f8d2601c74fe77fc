import CWire
import Memory
import NVMeOF
import Platform
import Seeds

/// One queue pair, joined to a simulated target by a stream that moves any number of bytes at a
/// time.
final class QueuePairWorld {
    static let blockByteCount = 512
    let queue: QueuePair
    let target: TargetDisk
    let connection: TargetConnection
    let memory: Mapping
    var seed: Seed
    /// What has been sent to the target, and to us, and not arrived.
    private var toTarget: [UInt8] = []
    private var arena = SegmentArena(capacity: 4096)
    private var listStart = 0
    /// Sends whose memory the kernel was given.
    private(set) var pinnedCount: UInt32 = 0
    /// Bytes that move at once, at most.
    var stride: Int

    init(_ behaviour: TargetBehaviour, depth: Int = 8, pinned: Int = 0, seed: Seed) throws {
        var options = QueuePair.Options(depth: depth)
        options.wantsHeaderDigest = behaviour.digests & 1 != 0
        options.wantsDataDigest = behaviour.digests & 2 != 0
        options.pinnedByteCount = pinned
        queue = try QueuePair(options)
        target = TargetDisk(behaviour)
        connection = TargetConnection(target)
        let file = try MemoryFile.create(name: "guest", byteCount: 1 << 22)
        memory = try Mapping(file.number, byteCount: 1 << 22)
        self.seed = seed
        stride = 1 << 20
    }

    /// Moves bytes until nothing moves any more. The target ends a connection that it complains of.
    func settle() {
        while step() {}
    }

    func step() -> Bool {
        var isMoving = false
        let list = queue.outgoing()
        if list.byteCount > 0 {
            let count = min(list.byteCount, seed.pick(1...stride))
            connection.feed(QueuePairWorld.read(list, count))
            let isPinned = queue.outgoingMayBePinned
            queue.sent(count, isPinned: isPinned)
            if isPinned { pinnedCount += 1 }
            isMoving = true
        }
        if !connection.output.isEmpty {
            let places = queue.incoming()
            let bytes = connection.take(min(places.byteCount, seed.pick(1...stride)))
            if !bytes.isEmpty {
                QueuePairWorld.write(bytes, places)
                queue.received(bytes.count)
                isMoving = true
            }
        }
        return isMoving
    }

    /// Delivers `bytes` as if the target had sent them.
    func deliver(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let places = queue.incoming()
            if places.count == 0 { return }
            let part = Array(rest.prefix(min(places.byteCount, seed.pick(1...stride))))
            QueuePairWorld.write(part, places)
            queue.received(part.count)
            rest = rest.dropFirst(part.count)
        }
    }

    static func read(_ list: SegmentList, _ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<list.count where bytes.count < count {
            bytes += list[index].bytes()
        }
        return Array(bytes.prefix(count))
    }

    static func write(_ bytes: [UInt8], _ list: SegmentList) {
        var rest = bytes[...]
        for index in 0..<list.count where !rest.isEmpty {
            list[index].store(bytes: Array(rest.prefix(list[index].byteCount)))
            rest = rest.dropFirst(list[index].byteCount)
        }
    }

    /// A list of `byteCount` bytes of guest memory from `start` on, cut into pieces.
    func list(at start: Int, _ byteCount: Int, pieces: Int = 1) -> SegmentList {
        var cuts = (1..<pieces).map { _ in seed.pick(0...byteCount) }.sorted()
        cuts.append(byteCount)
        if listStart + cuts.count > 4096 { listStart = 0 }
        var from = 0
        for (index, cut) in cuts.enumerated() {
            arena[listStart + index] = memory.bytes.segment.part(
                at: start + from, byteCount: cut - from)
            from = cut
        }
        listStart += cuts.count
        return arena.list(at: listStart - cuts.count, count: cuts.count)
    }

    /// A read or write command of blocks.
    static func command(_ opcode: Int, block: UInt64, byteCount: Int) -> nvme_sqe {
        var entry = nvme_sqe()
        entry.opcode = UInt8(opcode)
        entry.namespace_id = 1
        entry.cdw10 = UInt32(truncatingIfNeeded: block)
        entry.cdw11 = UInt32(block >> 32)
        entry.cdw12 = UInt32(byteCount / blockByteCount - 1)
        return entry
    }

    /// Connects as I/O queue 1.
    func connect() {
        var command = nvme_connect_command()
        command.opcode = UInt8(NVME_FABRICS_OPCODE)
        command.type = UInt8(NVME_FABRICS_CONNECT)
        command.queue_id = 1
        command.queue_size = UInt16(queue.options.depth)
        var bytes = [UInt8](repeating: 0, count: 1024)
        bytes.replaceSubrange(16..<18, with: ByteLayout.bytes(of: target.behaviour.controllerID))
        let name = Array(target.behaviour.subsystem.utf8)
        bytes.replaceSubrange(256..<256 + name.count, with: name)
        memory.bytes.segment.store(bytes: bytes)
        guard
            let entry = ByteLayout.load(nvme_sqe.self, from: ByteLayout.bytes(of: command))
        else { return }
        settle()
        queue.capsuleDataByteCount = 8192
        queue.start(entry, .write(list(at: 0, 1024), offset: 0, byteCount: 1024), token: 99)
        settle()
        queue.capsuleDataByteCount = target.behaviour.capsuleDataByteCount
    }
}
