import Bdev
import Bounded
import CWire
import Memory
import NVMe
import Platform

/// One I/O queue over one region of memory, with canaries before and behind it, and its driver.
final class QueueBench {
    struct Options {
        var submissionCount = 1
        var size = 16
        var completionSize = 16
        var usesShadow = false
        var transferByteLimit = 131072
        var view = NamespaceView(
            id: 1, blockShift: 9, blockCount: 256, offersWriteZeroes: true, offersCompare: true,
            offersDeallocate: true, offersVerify: true)
        var backend: (any Backend)?
    }

    static let guestStart: UInt64 = 0x4000_0000
    static let byteCount = 1 << 20
    static let canaryByteCount = 4096
    static let queueSpan = 0x10000
    static let completionOffset = 0x80000
    static let shadowOffset = 0x90000
    static let dataOffset = 0xA0000
    static let functionQueueCount = 5

    let mapping: Mapping
    let pages: Mapping
    let functionMapping: Mapping
    let options: Options
    let line = CountingLine()
    let disk: BlockDevice
    let diskBytes: Mapping
    var memory: HostMemory
    var queue: IOQueue
    var now = Ticks(1000)
    /// Channels of queues that were killed; their requests end here.
    private var channels: [BlockChannel] = []

    // the driver's side
    var tails: [Int]
    var head = 0
    var phase = true

    init(_ options: Options = Options()) throws {
        self.options = options
        let whole = Self.byteCount + 2 * Self.canaryByteCount
        mapping = try Mapping.fresh(byteCount: whole)
        pages = try Mapping.fresh(byteCount: 4096)
        functionMapping = try Mapping.fresh(
            byteCount: NVMeMemory.byteCount(queueCount: Self.functionQueueCount))
        let view = options.view
        let geometry = BlockGeometry(
            blockByteCount: 1 << Int(view.blockShift), blockCount: view.blockCount)
        diskBytes = try Mapping.fresh(byteCount: Int(geometry.byteCount))
        disk = BlockDevice(
            name: "disk", backend: options.backend ?? MallocBackend(diskBytes, geometry))
        memory = Self.hostMemory(mapping)
        tails = [Int](repeating: 0, count: options.submissionCount)
        let journal = try NVMeMemory(
            adopting: functionMapping, queueCount: Self.functionQueueCount)
        let channel = try disk.openChannel(depth: IOQueue.channelDepth, at: .unwatched)
        channels.append(channel)
        queue = try Self.makeQueue(options, memory, journal, pages, line, channel)
    }

    deinit {
        queue.discard()
        for _ in 0..<10_000 where !queue.isDrained {
            _ = queue.poll(now: now)
            now = max(now.advanced(by: 1000), queue.wakeTime ?? now)
        }
        for channel in channels {
            var ended = CompletionBatch(capacity: 256)
            for _ in 0..<100 where channel.outstanding > 0 {
                channel.poll(into: &ended, now: now)
                ended.removeAll()
            }
        }
    }

    static func hostMemory(_ mapping: Mapping, generation: UInt64 = 1) -> HostMemory {
        HostMemory(
            generation: generation,
            regions: [
                HostRegion(
                    guestAddress: guestStart, byteCount: UInt64(byteCount),
                    userAddress: guestStart, mapping: mapping, mappingOffset: canaryByteCount)
            ])
    }

    private static func makeQueue(
        _ options: Options, _ memory: HostMemory, _ journal: NVMeMemory, _ pages: Mapping,
        _ line: CountingLine, _ channel: BlockChannel
    ) throws -> IOQueue {
        var queue = try IOQueue(
            CompletionQueueSetup(
                id: 1, address: guestStart + UInt64(completionOffset), size: options.completionSize,
                vector: 1, isInterruptEnabled: true, head: doorbell(options, pages, 3)),
            memory: memory, journal: journal, interrupt: line,
            shape: QueueShape(transferByteLimit: options.transferByteLimit, namespaceLimit: 16),
            counters: QueueCounters())
        for index in 0..<options.submissionCount {
            try queue.add(submission(index, options, pages))
        }
        queue.attach(options.view, channel: channel)
        return queue
    }

    static func submission(
        _ index: Int, _ options: Options, _ pages: Mapping
    ) -> SubmissionQueueSetup {
        SubmissionQueueSetup(
            id: UInt16(index + 1), address: guestStart + UInt64(index * queueSpan),
            size: options.size, completionQueue: 1,
            tail: doorbell(options, pages, 2 * (index + 1)))
    }

    static func doorbell(_ options: Options, _ pages: Mapping, _ number: Int) -> Doorbell {
        if options.usesShadow {
            let base = guestStart + UInt64(shadowOffset + 4 * number)
            return .host(value: base, eventIndex: base + 4096)
        }
        return .page(pages.bytes.part(at: 4 * number, byteCount: 4))
    }

    /// The service dies and another one takes over.
    func kill() throws {
        let journal = try NVMeMemory(
            adopting: functionMapping, queueCount: Self.functionQueueCount)
        let channel = try disk.openChannel(depth: IOQueue.channelDepth, at: .unwatched)
        channels.append(channel)
        queue = try Self.makeQueue(options, memory, journal, pages, line, channel)
    }

    /// The region, without its canaries.
    var bytes: SharedBytes {
        mapping.bytes.part(at: Self.canaryByteCount, byteCount: Self.byteCount)
    }

    func address(_ offset: Int) -> UInt64 { Self.guestStart + UInt64(offset) }
    func data(_ offset: Int, _ byteCount: Int) -> HostSegment {
        bytes.part(at: Self.dataOffset + offset, byteCount: byteCount).segment
    }
    func dataAddress(_ offset: Int = 0) -> UInt64 { address(Self.dataOffset + offset) }

    // --- the driver ---

    func command(
        _ opcode: Int, id: UInt16 = 0, block: UInt64 = 0, count: Int = 1, data offset: Int = 0
    ) -> nvme_sqe {
        var sqe = nvme_sqe()
        sqe.opcode = UInt8(opcode)
        sqe.command_id = id
        sqe.namespace_id = 1
        sqe.prp1 = dataAddress(offset)
        sqe.cdw10 = UInt32(truncatingIfNeeded: block)
        sqe.cdw11 = UInt32(truncatingIfNeeded: block >> 32)
        sqe.cdw12 = UInt32(count - 1)
        return sqe
    }

    /// Puts a command on a ring; the device sees it with `ring`.
    func push(_ sqe: nvme_sqe, on index: Int = 0) {
        bytes.store(sqe, at: index * Self.queueSpan + 64 * tails[index])
        tails[index] = (tails[index] + 1) % options.size
    }

    func doorbellPlace(_ number: Int) -> SharedBytes {
        options.usesShadow
            ? bytes.part(at: Self.shadowOffset + 4 * number, byteCount: 4)
            : pages.bytes.part(at: 4 * number, byteCount: 4)
    }

    func ring(_ index: Int = 0) {
        doorbellPlace(2 * (index + 1)).storeRelease32(UInt32(tails[index]), at: 0)
    }

    /// Takes the next completion off the ring.
    func reap(consumes: Bool = true) -> nvme_cqe? {
        let cqe = bytes.load(nvme_cqe.self, at: Self.completionOffset + 16 * head)
        if (cqe.status & 1 == 1) != phase { return nil }
        head += 1
        if head == options.completionSize {
            head = 0
            phase.toggle()
        }
        if consumes { consume() }
        return cqe
    }

    func consume() { doorbellPlace(3).storeRelease32(UInt32(head), at: 0) }

    func poll(_ times: Int = 1) {
        for _ in 0..<times {
            _ = queue.poll(now: now)
            now = max(now.advanced(by: 1), queue.wakeTime ?? now)
        }
    }

    /// One command from the doorbell to its completion.
    func run(_ sqe: nvme_sqe) -> NVMeStatus? {
        push(sqe)
        ring()
        poll(40)
        return reap().map { NVMeStatus(rawValue: $0.status >> 1) }
    }

    /// Polls and takes every completion: command ids with their status.
    func drainAnswers(_ times: Int = 40) -> [UInt16: NVMeStatus] {
        var answers: [UInt16: NVMeStatus] = [:]
        for _ in 0..<times {
            poll()
            while let cqe = reap() {
                let status = NVMeStatus(rawValue: cqe.status >> 1)
                precondition(answers[cqe.command_id] == nil, "answered twice")
                answers[cqe.command_id] = status
            }
        }
        return answers
    }

    // --- the queue, for expectations: they copy what they look at ---

    var isDrained: Bool { queue.isDrained }
    var isParked: Bool { queue.isParked }
    var outstanding: Int { queue.outstanding }
    var submissionCount: Int { queue.submissionCount }
    func arm() -> Bool { queue.enableDoorbellEvents() }
    func isDrained(submission id: UInt16) -> Bool { queue.isDrained(submission: id) }
    func isDrained(namespace id: UInt32) -> Bool { queue.isDrained(namespace: id) }
    func abort(_ command: UInt16) -> Bool { queue.abort(submission: 1, command: command) }

    var fault: QueueFault? {
        if case .failed(let fault) = queue.phase { return fault }
        return nil
    }

    var canariesLive: Bool {
        let end = mapping.byteCount - Self.canaryByteCount
        return [0, end].allSatisfy { start in
            mapping.bytes.part(at: start, byteCount: Self.canaryByteCount).segment.bytes()
                .allSatisfy { $0 == 0 }
        }
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

extension HostSegment {
    /// Fills with bytes that differ from place to place.
    func fillPattern(_ seed: Int) {
        for offset in 0..<byteCount {
            store(UInt8((offset * 7 + offset >> 8 + seed) & 0xFF), at: offset)
        }
    }
}
