import Bdev
import Bounded
import CWire
import MallocProbe
import Memory
import NVMe
import Platform
import Testing

/// A host behind keys whose transfers take effect at once, and end when they are asked to.
private final class InstantChannel: HostChannel {
    static let base: UInt64 = 0x7000_0000
    private let region: SharedBytes
    private var tags = BoundedArray<UInt32>(capacity: 512)
    private(set) var interruptCount = 0
    private(set) var batchCount = 0

    init(_ region: SharedBytes) { self.region = region }

    var isOpen: Bool { true }

    func submit(_ batch: borrowing TransferBatch, for number: UInt32) -> Int {
        var taken = 0
        while taken < batch.count, !tags.isFull {
            let transfer = batch[taken]
            if transfer.kind == .message {
                interruptCount += 1
            } else {
                let host = region.part(
                    at: Int(transfer.remote.address - Self.base),
                    byteCount: transfer.local.byteCount
                ).segment
                if transfer.kind == .read {
                    transfer.local.copy(from: host)
                } else {
                    host.copy(from: transfer.local)
                }
            }
            tags.append(transfer.tag)
            taken += 1
        }
        batchCount += 1
        return taken
    }

    func deliver(to client: any TransferClient) {
        for index in 0..<tags.count { client.ended(tags[index], isWell: true) }
        tags.removeAll()
    }
}

@Suite(.serialized) struct `Allocation in the mirrored command path` {
    private static let rounds = 3_125
    private static let depth = 32

    private func turns(
        _ count: Int, _ bench: QueueBench, _ queue: MirroredIOQueue, _ channel: InstantChannel
    ) -> Int {
        var ended = 0
        let client = queue.client
        var sqe = bench.command(NVME_NVM_READ, count: 8)
        for round in 0..<count {
            for slot in 0..<Self.depth {
                sqe.opcode = UInt8((slot + round) % 2 == 0 ? NVME_NVM_READ : NVME_NVM_WRITE)
                sqe.command_id = UInt16(slot)
                sqe.cdw10 = UInt32(slot)
                bench.push(sqe)
            }
            bench.ring()
            queue.kick()
            var left = Self.depth
            while left > 0 {
                _ = queue.poll(now: Ticks(1000))
                channel.deliver(to: client)
                while let cqe = bench.reap(consumes: false) {
                    ended += cqe.status >> 1 == 0 ? 1 : 0
                    left -= 1
                }
                bench.consume()
            }
        }
        return ended
    }

    @Test(.enabled(if: malloc_probe_is_active()), arguments: [false, true])
    func `a hundred thousand commands allocate nothing`(usesShadow: Bool) throws {
        var options = QueueBench.Options()
        options.size = 128
        options.completionSize = 128
        options.usesShadow = usesShadow
        let bench = try QueueBench(options)
        let channel = InstantChannel(
            bench.mapping.bytes.part(
                at: QueueBench.canaryByteCount, byteCount: QueueBench.byteCount))
        let memory = RemoteMemory([
            RemoteRegion(
                guestAddress: QueueBench.guestStart, byteCount: UInt64(QueueBench.byteCount),
                userAddress: QueueBench.guestStart,
                place: RemoteAddress(InstantChannel.base, key: 1))
        ])
        let count = QueueBench.functionQueueCount
        let journal = try NVMeMemory(
            adopting: Mapping.fresh(byteCount: NVMeMemory.byteCount(queueCount: count)),
            queueCount: count)
        let staging = StagingArea(
            try Mapping.fresh(byteCount: 64 * StagingArea.chunkByteCount), chunkCount: 48)
        let queue = try MirroredIOQueue(
            CompletionQueueSetup(
                id: 1, address: QueueBench.guestStart + UInt64(QueueBench.completionOffset),
                size: options.completionSize, vector: 1, isInterruptEnabled: true,
                head: QueueBench.doorbell(options, bench.pages, 3)),
            memory: memory, journal: journal,
            link: MirrorLink(staging: staging, channel: channel, number: 0, message: [1]),
            shape: QueueShape(transferByteLimit: 131072, namespaceLimit: 16),
            counters: QueueCounters())
        try queue.add(QueueBench.submission(0, options, bench.pages))
        queue.attach(
            options.view,
            channel: try bench.disk.openChannel(depth: IOQueue.channelDepth, at: .unwatched))
        _ = turns(2, bench, queue, channel)
        let allocations = malloc_probe_count()
        let (batches, start) = (channel.batchCount, Clock.threadNanoseconds())
        let ended = turns(Self.rounds, bench, queue, channel)
        let time = Clock.threadNanoseconds() - start
        #expect(malloc_probe_count() == allocations)
        #expect(ended == Self.rounds * Self.depth)
        // Doorbell, entries, data in, answers: one hand-over each for many commands.
        #expect(channel.batchCount - batches < ended)
        let batchCount = channel.batchCount - batches
        print(
            "nvme mirrored \(usesShadow ? "shadow" : "page"):", time / UInt64(ended),
            "ns a command,", batchCount, "batches for", ended, "commands")
        for _ in 0..<100 {
            _ = queue.poll(now: Ticks(1000))
            channel.deliver(to: queue.client)
        }
        queue.drain()
        _ = queue.poll(now: Ticks(1000))
        #expect(queue.isDrained)
        queue.close()
    }
}
