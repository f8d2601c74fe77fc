import Bdev
import Memory
import Platform
import Seeds
import Testing
import VirtioBlk

/// Rings full of nonsense that is near enough to sense to get far.
struct Garbage {
    var random: Seed

    mutating func address() -> UInt64 {
        switch random.pick(0...9) {
        case 0: return UInt64.random(in: 0 ... .max, using: &random)
        case 1: return QueueBench.guestStart &+ UInt64(QueueBench.byteCount) &- 8
        case 2: return QueueBench.guestStart
        default:
            let offset = random.pick(0...QueueBench.byteCount)
            return QueueBench.guestStart + UInt64(random.oneIn(2) ? offset & ~511 : offset)
        }
    }

    mutating func length() -> UInt32 {
        let usual: [UInt32] = [0, 1, 16, 21, 512, 513, 1024, 4096, 0xFFFF_FFFF]
        return usual.randomElement(using: &random) ?? 0
    }

    /// Descriptors of either format, at `offset`.
    mutating func describe(_ bytes: SharedBytes, at offset: Int, count: Int, isPacked: Bool) {
        for index in 0..<count {
            let place = offset + 16 * index
            bytes.store(address(), at: place)
            bytes.store(length(), at: place + 8)
            var flags = UInt16([0, 1, 2, 3, 4, 1, 2].randomElement(using: &random) ?? 0)
            if random.oneIn(10) { flags = UInt16.random(in: 0 ... .max, using: &random) }
            let next = UInt16(random.oneIn(10) ? random.pick(0...65535) : random.pick(0...count))
            if isPacked { flags = flags & 7 | (random.oneIn(3) ? 1 << 15 : 1 << 7) }
            bytes.store(isPacked ? next : flags, at: place + 12)
            bytes.store(isPacked ? flags : next, at: place + 14)
        }
    }

    /// Headers, ranges and an indirect table in the data part.
    mutating func fillData(_ bytes: SharedBytes, isPacked: Bool) {
        for _ in 0..<8 {
            let place = random.pick(0...(QueueBench.byteCount - 64)) & ~7
            let types: [UInt32] = [0, 1, 4, 8, 11, 13, 99]
            bytes.store(types.randomElement(using: &random) ?? 0, at: place)
            bytes.store(UInt64(random.pick(0...70)), at: place + 8)
        }
        describe(bytes, at: QueueBench.dataOffset, count: 8, isPacked: isPacked)
    }

    mutating func fillRings(_ bytes: SharedBytes, size: Int, isPacked: Bool) {
        describe(bytes, at: 0, count: size, isPacked: isPacked)
        for entry in 0..<size {
            let head = random.oneIn(12) ? random.pick(0...65535) : random.pick(0...size - 1)
            bytes.store(UInt16(head), at: QueueBench.driverOffset + 4 + 2 * entry)
        }
        let index = random.oneIn(8) ? random.pick(0...65535) : random.pick(0...size)
        bytes.store(UInt16(index), at: QueueBench.driverOffset + 2)
        bytes.store(UInt16(random.pick(0...3)), at: QueueBench.driverOffset)
    }
}

@Suite struct `Garbage in the rings` {
    static let canary: UInt8 = 0xC5

    /// Runs `count` random rings. Returns the faults that were met.
    private func run(_ seed: Seed, count: Int, isPacked: Bool) throws -> Set<UInt8> {
        var garbage = Garbage(random: seed)
        let whole = QueueBench.byteCount + 2 * QueueBench.canaryByteCount
        let mapping = try Mapping.fresh(byteCount: whole)
        let disk = MallocBackend(
            try Mapping.fresh(byteCount: Int(QueueBench.geometry.byteCount)), QueueBench.geometry)
        let log = try Mapping.fresh(byteCount: 4096)
        mapping.bytes.segment.fill(with: Self.canary)
        let low = mapping.bytes.segment.part(at: 0, byteCount: QueueBench.canaryByteCount)
        let high = mapping.bytes.segment.part(
            at: whole - QueueBench.canaryByteCount, byteCount: QueueBench.canaryByteCount)
        let untouched = low.bytes()
        var faults: Set<UInt8> = []
        for round in 0..<count {
            var options = QueueBench.Options()
            options.size = isPacked ? garbage.random.pick(1...16) : 1 << garbage.random.pick(0...4)
            options.isPacked = isPacked
            options.usesEventIndex = garbage.random.oneIn(2)
            options.isInOrder = garbage.random.oneIn(4)
            options.backend = garbage.random.oneIn(2) ? disk : SlowBackend(disk)
            if isPacked { options.position = VirtqueuePosition(vringBase: 0x8000, isPacked: true) }
            // A log that a hostile front end keeps, half of the time full of nonsense too.
            let hasLog = garbage.random.oneIn(2)
            if hasLog { spoil(log, options.size, &garbage) }
            do throws(QueueFault) {
                try turn(options, &garbage, mapping, hasLog ? log : nil, &faults)
            } catch { faults.insert(error.rawValue) }
            if round % 64 == 63 || round == count - 1 {
                #expect(low.bytes() == untouched && high.bytes() == untouched)
            }
        }
        return faults
    }

    private func spoil(_ log: Mapping, _ size: Int, _ garbage: inout Garbage) {
        log.bytes.segment.fill(with: 0)
        if garbage.random.oneIn(2) { return }
        for _ in 0..<garbage.random.pick(1...40) {
            let place = garbage.random.pick(0...(64 + 32 * size)) & ~1
            log.bytes.store(UInt16(garbage.random.pick(0...2 * size)), at: place)
        }
        log.bytes.store(UInt16(1), at: 8)
        log.bytes.store(UInt16(size), at: 10)
    }

    private func turn(
        _ options: QueueBench.Options, _ garbage: inout Garbage, _ mapping: Mapping,
        _ log: Mapping?, _ faults: inout Set<UInt8>
    ) throws(QueueFault) {
        let bench: QueueBench
        do {
            bench = try QueueBench(options, mapping: mapping, log: log)
        } catch let fault as QueueFault { throw fault } catch { return }
        garbage.fillData(bench.bytes, isPacked: options.isPacked)
        for _ in 0..<3 {
            garbage.fillRings(bench.bytes, size: options.size, isPacked: options.isPacked)
            // What a front end does to its own log while we run.
            if let log = bench.log, garbage.random.oneIn(4) {
                let place = garbage.random.pick(0...(64 + 32 * options.size)) & ~1
                log.bytes.store(UInt16(garbage.random.pick(0...65535)), at: place)
            }
            bench.poll(2)
            _ = bench.queue.enableKicks()
        }
        if let fault = bench.fault { throw fault }
    }

    @Test(arguments: Seed.sample(2), [false, true])
    func `neither trap, hang nor write elsewhere`(seed: Seed, isPacked: Bool) throws {
        let factor = ProcessFacts.environment("SOFTSNAP_SIMULATION").flatMap(Int.init) ?? 1
        let count = Effort.of(10_000, atLeast: 2_500)
        let faults = try run(seed, count: count * factor, isPacked: isPacked)
        let expected: Set<QueueFault> =
            isPacked
            ? [.descriptorIndex, .indirectTable, .inflightRegion]
            : [.descriptorIndex, .indirectTable, .availableIndex, .endlessChain]
        #expect(faults.isSuperset(of: expected.map(\.rawValue)), "\(seed): \(faults)")
    }
}
