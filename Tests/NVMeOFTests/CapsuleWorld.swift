import Bounded
import CWire
import Memory
import NVMeOF
import Platform
import Seeds

/// A capsule queue, its device and its target, all simulated: capsules go when the test says so,
/// and the target reaches the buffer by address and key only.
final class CapsuleWorld {
    static let key: UInt32 = 0xA1B2_C3D4
    static let base: UInt64 = 0x7000_1234_0000
    /// Of guest memory, once it is shared.
    static let guestKey: UInt32 = 0x1122_3344
    static let guestBase: UInt64 = 0x1_0000_0000
    static let blockByteCount = 512
    let queue: CapsuleQueue
    let memory: Mapping
    var disk: [UInt8]
    var seed: Seed
    /// Answer places that the device has, in order.
    var places: [Int] = []
    /// Commands that the target has and has not answered, with the data of their capsules.
    var commands: [(entry: nvme_sqe, data: [UInt8])] = []
    /// Work requests that the device was given, in order.
    var posted: [WorkRequest] = []
    /// What the target found wrong.
    var complaints: [String] = []
    let areas: CapsuleAreas
    private let arena = SegmentArena(capacity: 4096)
    private var listStart = 0

    enum WorkRequest {
        case receive(HostSegment)
        case send(HostSegment, nvme_sqe)
    }

    init(
        depth: Int = 8, capsule: Int = 4096, buffer: Int = 1 << 18, seed: Seed = Seed(1)
    ) throws {
        let shape = CapsuleQueue.Shape(
            depth: depth, capsuleDataByteCount: capsule, bufferByteCount: buffer)
        areas = try CapsuleAreas(shape)
        let place = RemoteAddress(CapsuleWorld.base, key: CapsuleWorld.key)
        queue = CapsuleQueue(shape, areas, buffer: place)
        let file = try MemoryFile.create(name: "guest", byteCount: 1 << 21)
        memory = try Mapping(file.number, byteCount: 1 << 21)
        disk = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 >> 9 &* 7 &+ $0) }
        self.seed = seed
    }

    /// Has the target reach all guest memory but its last 64 KiB.
    func share() {
        queue.direct.append(
            DirectStretch(
                address: UInt64(memory.bytes.address),
                byteCount: UInt64(memory.byteCount - (64 << 10)),
                place: RemoteAddress(CapsuleWorld.guestBase, key: CapsuleWorld.guestKey)))
    }

    func guest(_ start: Int, _ byteCount: Int) -> HostSegment {
        memory.bytes.segment.part(at: start, byteCount: byteCount)
    }

    /// Guest memory from `start` on, cut into pieces.
    func list(_ start: Int, _ byteCount: Int, pieces: Int = 1) -> SegmentList {
        var cuts = (1..<pieces).map { _ in seed.pick(0...byteCount) }.sorted()
        cuts.append(byteCount)
        if listStart + cuts.count > 4096 { listStart = 0 }
        var from = 0
        for (index, cut) in cuts.enumerated() {
            arena[listStart + index] = guest(start + from, cut - from)
            from = cut
        }
        listStart += cuts.count
        return arena.list(at: listStart - cuts.count, count: cuts.count)
    }

    func start(_ opcode: Int, block: Int, _ transfer: QueuePair.Transfer, token: UInt64) {
        let byteCount =
            switch transfer {
            case .read(_, _, let count), .write(_, _, let count): count
            case .nothing, .range: CapsuleWorld.blockByteCount
            }
        queue.start(
            QueuePairWorld.command(opcode, block: UInt64(block), byteCount: byteCount), transfer,
            token: token)
    }

    // MARK: The device

    /// Hands over what there is. The target has the commands; `leave` says that they have gone.
    /// - Returns: how many capsules.
    @discardableResult
    func send() -> Int {
        while let place = queue.nextAnswerPlace() {
            places.append(place)
            posted.append(.receive(areas.answer(place)))
        }
        var count = 0
        while let capsule = queue.nextCapsule() {
            posted.append(.send(capsule.bytes, capsule.bytes.load(nvme_sqe.self)))
            let data = capsule.bytes.byteCount - Int(NVME_SQE_BYTES)
            commands.append(
                (
                    capsule.bytes.load(nvme_sqe.self),
                    capsule.bytes.part(at: Int(NVME_SQE_BYTES), byteCount: data).bytes()
                ))
            count += 1
        }
        return count
    }

    /// Puts an answer into the oldest place.
    func deliver(_ entry: nvme_cqe, byteCount: Int = Int(NVME_CQE_BYTES)) {
        if places.isEmpty { return complaints.append("an answer without a place") }
        let place = places.removeFirst()
        areas.answer(place).store(entry)
        queue.received(at: place, byteCount: byteCount)
    }

    /// Reads `list` again and again, answered at once and without a look at the capsules.
    /// - Returns: how many reads went well.
    func read(_ command: nvme_sqe, _ list: SegmentList, rounds: Int) -> Int {
        var ended = 0
        for _ in 0..<rounds {
            queue.start(command, .read(list, offset: 0, byteCount: 4096), token: 1)
            while let place = queue.nextAnswerPlace() { places.append(place) }
            guard let place = places.popLast(), let capsule = queue.nextCapsule() else {
                return ended
            }
            let entry = capsule.bytes.load(nvme_sqe.self)
            areas.answer(place).store(CapsuleWorld.answer(to: entry))
            queue.received(at: place, byteCount: Int(NVME_CQE_BYTES))
            queue.sent(1)
            if queue.nextCompletion()?.status == 0 { ended += 1 }
        }
        return ended
    }

    // MARK: The target

    static func answer(to entry: nvme_sqe, status: UInt16 = 0) -> nvme_cqe {
        var answer = nvme_cqe()
        answer.command_id = entry.command_id
        answer.status = status << 1
        return answer
    }

    /// Carries out command `index` of those that it has, without answering it.
    func carryOut(_ index: Int) -> nvme_sqe {
        let (entry, data) = commands.remove(at: index)
        if entry.flags != UInt8(NVME_PSDT_SGL << NVME_PSDT_SHIFT) {
            complaints.append("flags \(entry.flags)")
        }
        let start = Int(entry.cdw10) * CapsuleWorld.blockByteCount
        switch Int(entry.opcode) {
        case NVME_NVM_READ:
            var from = start
            for place in places(entry, data) {
                place.store(bytes: Array(disk[from..<from + place.byteCount]))
                from += place.byteCount
            }
        case NVME_NVM_WRITE:
            guard let bytes = written(entry, data) else { break }
            disk.replaceSubrange(start..<start + bytes.count, with: bytes)
        case NVME_NVM_DATASET_MANAGEMENT:
            guard let bytes = written(entry, data),
                let range = ByteLayout.load(nvme_dsm_range.self, from: bytes)
            else { break }
            let first = Int(range.block) * CapsuleWorld.blockByteCount
            let count = Int(range.block_count) * CapsuleWorld.blockByteCount
            disk.replaceSubrange(first..<first + count, with: [UInt8](repeating: 0, count: count))
        default:
            if entry.prp1 != 0 || entry.prp2 != UInt64(NVME_SGL_KEYED_DATA_BLOCK) << 56 {
                complaints.append("a command without data has a descriptor")
            }
        }
        return entry
    }

    /// What a command writes, from its capsule or from the buffer.
    private func written(_ entry: nvme_sqe, _ data: [UInt8]) -> [UInt8]? {
        let isInCapsule = Int(entry.prp2 >> 56) == NVME_SGL_IN_CAPSULE
        if !isInCapsule { return places(entry, data).flatMap { $0.bytes() } }
        let expected = UInt64(data.count) | UInt64(NVME_SGL_IN_CAPSULE) << 56
        if entry.prp1 != 0 || entry.prp2 != expected { complaints.append("capsule descriptor") }
        return data
    }

    /// What the target reaches by a command's descriptor, or by those in its capsule.
    private func places(_ entry: nvme_sqe, _ data: [UInt8]) -> [HostSegment] {
        if Int(entry.prp2 >> 56) != NVME_SGL_LAST_SEGMENT_IN_CAPSULE {
            if !data.isEmpty { complaints.append("data in a capsule that does not say so") }
            return [buffer(entry.prp1, entry.prp2)].compactMap(\.self)
        }
        let count = data.count / Int(NVME_SGL_BYTES)
        if entry.prp1 != 0 || entry.prp2 & 0xFFFF_FFFF != UInt64(data.count)
            || count > queue.descriptorLimit
        {
            complaints.append("segment descriptor")
        }
        return (0..<count).compactMap { index in
            let halves = (0..<2).compactMap {
                ByteLayout.load(UInt64.self, from: data, at: index * 16 + $0 * 8)
            }
            return halves.count == 2 ? buffer(halves[0], halves[1]) : nil
        }
    }

    /// The stretch of the buffer that a keyed descriptor names.
    private func buffer(_ address: UInt64, _ second: UInt64) -> HostSegment? {
        let byteCount = Int(second & 0xFF_FFFF)
        let key = UInt32(truncatingIfNeeded: second >> 24)
        if key == CapsuleWorld.guestKey {
            return guest(Int(address &- CapsuleWorld.guestBase), byteCount)
        }
        let offset = Int(address &- CapsuleWorld.base)
        guard Int(second >> 56) == NVME_SGL_KEYED_DATA_BLOCK, key == CapsuleWorld.key,
            offset >= 0, offset + byteCount <= queue.shape.bufferByteCount
        else {
            complaints.append("keyed descriptor")
            return nil
        }
        return areas.mapping.bytes.segment.part(
            at: areas.privateByteCount + offset, byteCount: byteCount)
    }

    /// Everything goes, and is carried out and answered in any order.
    func settle() {
        while true {
            let sent = send()
            if commands.isEmpty { return }
            let isLate = seed.oneIn(2)
            if !isLate { queue.sent(sent) }
            while !commands.isEmpty {
                deliver(Self.answer(to: carryOut(seed.pick(0...commands.count - 1))))
            }
            // An answer may be seen before the end of what it answers.
            if isLate { queue.sent(sent) }
        }
    }
}
