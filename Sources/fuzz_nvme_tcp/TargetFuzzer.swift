import CWire
import Memory
import NVMeOF
import Platform

/// What a target can send: a stream of PDUs, whole or cut anywhere, to a queue pair with reads and
/// writes on it.
///
/// Traps when memory that the target was not given is written, when a command ends twice, or when
/// one is neither answered nor lost.
final class TargetFuzzer: @unchecked Sendable {
    // Sendable: libFuzzer calls from one thread only.
    private static let slotByteCount = 4096
    private static let depth = 4
    private let memory: Mapping
    private let arena = SegmentArena(capacity: TargetFuzzer.depth * 3)

    init() throws(SystemError) {
        // A read's memory, and as much that is nobody's, in turn.
        let size = TargetFuzzer.depth * 2 * TargetFuzzer.slotByteCount
        let file = try MemoryFile.create(name: "fuzz", byteCount: UInt64(size))
        memory = try Mapping(file.number, byteCount: size)
    }

    func run(_ input: ArraySlice<UInt8>) {
        var input = input
        var options = QueuePair.Options(depth: TargetFuzzer.depth)
        let settings = input.popFirst() ?? 0
        options.wantsHeaderDigest = settings & 1 != 0
        options.wantsDataDigest = settings & 2 != 0
        guard let queue = try? QueuePair(options) else { return }
        var wire = Wire(queue, settings)
        memory.bytes.segment.fill(with: 0)
        wire.agree(dataAlignment: settings >> 3)
        var started: Set<UInt64> = []
        var next: UInt64 = 0
        while let kind = input.popFirst() {
            while queue.hasRoom { start(queue, &next, &started, isWrite: kind & 0x80 != 0) }
            wire.send(upTo: Int(input.popFirst() ?? 255) << 4)
            wire.deliver(kind, &input)
            while let completion = queue.nextCompletion() {
                precondition(started.remove(completion.token) != nil, "ended twice")
            }
            if case .ended = queue.phase { break }
        }
        queue.end(.closed)
        precondition(queue.incoming().count == 0 && queue.outgoing().count == 0)
        while let token = queue.nextLost() {
            precondition(started.remove(token) != nil, "lost twice")
        }
        precondition(started.isEmpty, "neither answered nor lost")
        checkCanaries()
    }

    /// A read into, or a write from, the memory of its slot, in three pieces.
    private func start(
        _ queue: QueuePair, _ next: inout UInt64, _ started: inout Set<UInt64>, isWrite: Bool
    ) {
        let index = Int(next % UInt64(TargetFuzzer.depth))
        let place = memory.bytes.segment.part(
            at: index * 2 * TargetFuzzer.slotByteCount, byteCount: TargetFuzzer.slotByteCount)
        let cuts = [0, 5, 1000, 4096]
        for piece in 0..<3 {
            arena[index * 3 + piece] = place.part(
                at: cuts[piece], byteCount: cuts[piece + 1] - cuts[piece])
        }
        let list = arena.list(at: index * 3, count: 3)
        var command = nvme_sqe()
        command.opcode = UInt8(isWrite ? NVME_NVM_WRITE : NVME_NVM_READ)
        queue.start(
            command,
            isWrite
                ? .write(list, offset: 0, byteCount: 4096)
                : .read(list, offset: 0, byteCount: 4096), token: next)
        started.insert(next)
        next += 1
    }

    private func checkCanaries() {
        for index in 0..<TargetFuzzer.depth {
            let start = (index * 2 + 1) * TargetFuzzer.slotByteCount
            for offset in stride(from: 0, to: TargetFuzzer.slotByteCount, by: 8) {
                let word = memory.bytes.load(UInt64.self, at: start + offset)
                precondition(word == 0, "written outside of a read's memory")
            }
        }
    }
}

/// The target's end of the stream.
private struct Wire {
    private let queue: QueuePair
    private let hasHeaderDigest: Bool
    private let hasDataDigest: Bool
    /// Identifiers of the last commands that were sent.
    private var identifiers: [UInt16] = [0]
    private var sent: [UInt8] = []

    init(_ queue: QueuePair, _ settings: UInt8) {
        self.queue = queue
        hasHeaderDigest = settings & 1 != 0
        hasDataDigest = settings & 2 != 0
    }

    func agree(dataAlignment: UInt8) {
        var response = nvme_tcp_icresp()
        response.digests = (hasHeaderDigest ? 1 : 0) | (hasDataDigest ? 2 : 0)
        response.data_alignment = dataAlignment
        response.maximum_h2c_data = 4096
        deliver(pdu(NVME_TCP_ICRESP, response, isPlain: true))
    }

    /// Takes up to `limit` bytes off the wire, and notes the commands among them.
    mutating func send(upTo limit: Int) {
        let list = queue.outgoing()
        var count = 0
        for index in 0..<list.count where count < limit {
            sent += list[index].bytes().prefix(limit - count)
            count = min(limit, count + list[index].byteCount)
        }
        queue.sent(count)
        while let header = ByteLayout.load(nvme_tcp_header.self, from: sent),
            sent.count >= Int(header.byte_count)
        {
            if Int(header.type) == NVME_TCP_CAPSULE_CMD,
                let entry = ByteLayout.load(nvme_sqe.self, from: sent, at: 8)
            {
                identifiers = [entry.command_id] + identifiers.prefix(7)
            }
            sent.removeFirst(Int(header.byte_count))
        }
    }

    /// One PDU, or bytes as they are.
    func deliver(_ kind: UInt8, _ input: inout ArraySlice<UInt8>) {
        let id = identifiers[Int(kind >> 3 & 7) % identifiers.count]
        let length = Int(input.popFirst() ?? 0)
        let offset = UInt32(input.popFirst() ?? 0) << 5
        switch kind & 3 {
        case 0:
            deliver(Array(input.prefix(length)))
            input = input.dropFirst(length)
        case 1:
            var answer = Response()
            answer.entry.command_id = id
            answer.entry.status = UInt16(offset)
            deliver(pdu(NVME_TCP_CAPSULE_RESP, answer))
        case 2:
            var data = nvme_tcp_data()
            data.command_id = id
            data.offset = offset
            data.length = UInt32(length << 5)
            data.header.flags = kind >> 3 & 12
            let bytes = [UInt8](repeating: 0xAB, count: length << 5)
            deliver(pdu(NVME_TCP_C2H_DATA, data, data: bytes))
        default:
            var grant = nvme_tcp_r2t()
            grant.command_id = id
            grant.offset = offset
            grant.length = UInt32(length << 5)
            deliver(pdu(NVME_TCP_R2T, grant))
        }
    }

    private struct Response: BitwiseCopyable {
        var header = nvme_tcp_header()
        var entry = nvme_cqe()
    }

    /// Completes `layout`, whose header may have flags already.
    private func pdu<Layout: BitwiseCopyable>(
        _ type: Int, _ layout: Layout, data: [UInt8] = [], isPlain: Bool = false
    ) -> [UInt8] {
        var bytes = ByteLayout.bytes(of: layout)
        let isDigested = hasHeaderDigest && !isPlain
        let end = bytes.count + (isDigested ? 4 : 0)
        let size = data.isEmpty ? end : end + data.count + (hasDataDigest ? 4 : 0)
        bytes[0] = UInt8(type)
        bytes[1] |= (isDigested ? 1 : 0) | (hasDataDigest && !data.isEmpty ? 2 : 0)
        bytes[2] = UInt8(bytes.count)
        bytes[3] = data.isEmpty ? 0 : UInt8(end)
        bytes.replaceSubrange(4..<8, with: ByteLayout.bytes(of: UInt32(size)))
        if isDigested { bytes += digest(bytes) }
        bytes += data
        if hasDataDigest && !data.isEmpty { bytes += digest(data) }
        return bytes
    }

    private func digest(_ bytes: [UInt8]) -> [UInt8] {
        var state: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state >> 1 ^ (state & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
        return ByteLayout.bytes(of: ~state)
    }

    /// All of `bytes`, as far as the queue pair still takes them.
    private func deliver(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let places = queue.incoming()
            var moved = 0
            for index in 0..<places.count where !rest.isEmpty {
                let part = Array(rest.prefix(places[index].byteCount))
                places[index].store(bytes: part)
                rest = rest.dropFirst(part.count)
                moved += part.count
            }
            if moved == 0 { return }
            queue.received(moved)
        }
    }
}
