import Bdev
import Memory
import Platform
import Seeds
import Testing

/// Random requests against an array of bytes that has to agree with the device.
final class Model {
    let bench: Bench
    private let geometry: BlockGeometry
    private var disk: [UInt8]
    private var random: Seed
    /// By tag: what is under way.
    private var running: [UInt32: Running] = [:]
    private let depth: Int
    private let tolerated: Set<BlockStatus>
    private(set) var endedCount = 0

    private struct Running {
        let request: BlockRequest
        let blocks: Range<UInt64>
        /// What a write puts there, what a read must find.
        let bytes: [UInt8]
    }

    init(
        _ bench: Bench, _ seed: Seed, depth: Int, tolerating tolerated: Set<BlockStatus> = []
    ) {
        self.bench = bench
        self.depth = depth
        self.tolerated = tolerated
        geometry = bench.device.geometry
        disk = [UInt8](repeating: 0, count: Int(geometry.byteCount))
        random = seed
    }

    func run(requests: Int) throws {
        while endedCount < requests {
            offer(Int.random(in: 1...8, using: &random))
            try settle()
        }
        while !running.isEmpty { try settle() }
    }

    private func offer(_ count: Int) {
        var requests: [BlockRequest] = []
        for tag in 0..<UInt32(depth) where requests.count < count && running[tag] == nil {
            if let request = makeRequest(tag) { requests.append(request) }
        }
        let taken = bench.submit(requests)
        for request in requests[taken...] { running[request.tag] = nil }
    }

    private func makeRequest(_ tag: UInt32) -> BlockRequest? {
        let count = UInt64.random(in: 1...16, using: &random)
        let block = UInt64.random(in: 0...(geometry.blockCount - count), using: &random)
        let blocks = block..<block + count
        if running.values.contains(where: { $0.blocks.overlaps(blocks) }) { return nil }
        let operations = BlockOperation.allCases.filter(bench.device.backend.supports)
        guard let operation = operations.randomElement(using: &random) else { return nil }
        let size = Int(count) * geometry.blockByteCount
        let place = Int(block) * geometry.blockByteCount
        var segments = SegmentList.empty
        var bytes = Array(disk[place..<place + size])
        if operation == .read || operation == .write { segments = makeList(tag, size) }
        if operation == .write {
            bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
            store(bytes, to: segments)
        }
        let request = BlockRequest(
            operation, tag: tag, block: block, blockCount: count, segments: segments)
        running[tag] = Running(request: request, blocks: blocks, bytes: bytes)
        return request
    }

    /// Cuts the tag's own 16 KiB of memory up, aligned or not.
    private func makeList(_ tag: UInt32, _ size: Int) -> SegmentList {
        let isAligned = Bool.random(using: &random)
        var offset = Int(tag) * 16384 + (isAligned ? 0 : Int.random(in: 0...99, using: &random))
        var parts: [Range<Int>] = []
        var left = size
        while left > 0 {
            var length = parts.count == 15 ? left : Int.random(in: 1...left, using: &random)
            if isAligned { length = max(512, length / 512 * 512) }
            length = min(length, left)
            parts.append(offset..<offset + length)
            offset += length
            left -= length
        }
        return bench.list(parts, at: Int(tag) * 16)
    }

    private func store(_ bytes: [UInt8], to segments: SegmentList) {
        var offset = 0
        for index in 0..<segments.count {
            let size = segments[index].byteCount
            segments[index].store(bytes: Array(bytes[offset..<offset + size]))
            offset += size
        }
    }

    private func settle() throws {
        for completion in bench.poll() {
            let found = running.removeValue(forKey: completion.tag)
            let ended = try #require(found)
            endedCount += 1
            if completion.status != .success {
                #expect(tolerated.contains(completion.status), "\(completion)")
                continue
            }
            check(ended)
        }
        if let time = bench.channel.wakeTime, time > bench.now { bench.now = time }
    }

    private func check(_ ended: Running) {
        let place = Int(ended.blocks.lowerBound) * geometry.blockByteCount
        let size = ended.bytes.count
        switch ended.request.operation {
        case .read:
            let segments = ended.request.segments
            let found = (0..<segments.count).flatMap { segments[$0].bytes() }
            #expect(found == ended.bytes, "read of blocks \(ended.blocks)")
        case .write: disk.replaceSubrange(place..<place + size, with: ended.bytes)
        case .unmap, .writeZeroes:
            disk.replaceSubrange(place..<place + size, with: repeatElement(0, count: size))
        case .flush: break
        }
    }
}

@Suite struct `Random requests` {
    static let geometry = BlockGeometry(blockByteCount: 512, blockCount: 512)
    static let depth = 32

    func model(
        _ backend: any Backend, _ seed: Seed, tolerating tolerated: Set<BlockStatus> = []
    ) throws -> Model {
        Model(
            try Bench(backend, depth: Self.depth), seed, depth: Self.depth,
            tolerating: tolerated)
    }

    func ramDisk() throws -> MallocBackend {
        MallocBackend(
            try Mapping.fresh(byteCount: Int(Self.geometry.byteCount)), Self.geometry)
    }

    @Test(arguments: Seed.sample(Effort.of(8)))
    func `agree with a model on a malloc disk`(seed: Seed) throws {
        try model(ramDisk(), seed).run(requests: 300)
    }

    @Test(arguments: KernelQueue.Kind.usable, Seed.sample(Effort.of(6)))
    func `agree with a model on a file`(engine: KernelQueue.Kind, seed: Seed) throws {
        let file = try ScratchFile(byteCount: Int(Self.geometry.byteCount))
        let backend = try file.backend(engine) { $0.allowsErasing = true }
        try model(backend, seed).run(requests: 300)
    }

    @Test(arguments: Seed.sample(Effort.of(6)))
    func `agree with a model on a delay disk`(seed: Seed) throws {
        let latencies = try DelayLatencies(
            averageRead: 10, slowRead: 100, averageWrite: 30, slowWrite: 200)
        let base = BlockDevice(name: "base", backend: try ramDisk())
        try model(DelayBackend(base, latencies), seed).run(requests: 300)
    }

    @Test(arguments: Seed.sample(Effort.of(6)))
    func `agree with a model on an error disk that fails some`(seed: Seed) throws {
        let backend = ErrorBackend(BlockDevice(name: "base", backend: try ramDisk()))
        let model = try model(backend, seed, tolerating: [.failed])
        var random = seed
        while model.endedCount < 300 {
            let fault = [ErrorInjection.Fault.failure, .noMemory].randomElement(using: &random)
            let count = UInt32.random(in: 1...5, using: &random)
            backend.inject(try ErrorInjection(fault ?? .failure, count: count))
            try model.run(requests: model.endedCount + 50)
        }
    }
}
