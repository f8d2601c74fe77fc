import Bdev
import Memory
import NVMe
import Platform

/// What a driver can do to an I/O queue: the first byte chooses the queue, each next record is a
/// command, a list in memory, a doorbell, a turn, or the death of the service.
///
/// Traps when the device writes outside the memory it was granted, answers what was not asked or
/// answers twice, or does not end.
final class NVMeFuzzer: @unchecked Sendable {
    // Sendable: libFuzzer calls from one thread only.
    private static let ringStart: UInt64 = 0x7B3D_5000_0000
    private static let dataStart: UInt64 = 1 << 32
    private static let ringByteCount = 16384
    private static let dataByteCount = 65536
    private static let canaryByteCount = 4096
    private static let completionOffset = 8192
    private static let completionSize = 8
    private static let size = 16

    private let rings: Mapping
    private let data: Mapping
    private let pages: Mapping
    private let function: Mapping
    private let memory: HostMemory
    private let disk: BlockDevice
    private let site = ChannelSite(watch: { _ in }, unwatch: { _ in })

    init() throws {
        rings = try Self.fresh(Self.ringByteCount + 2 * Self.canaryByteCount)
        data = try Self.fresh(Self.dataByteCount + 2 * Self.canaryByteCount)
        pages = try Self.fresh(4096)
        function = try Self.fresh(NVMeMemory.byteCount(queueCount: 3))
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 128)
        disk = BlockDevice(
            name: "disk", backend: MallocBackend(try Self.fresh(128 * 512), geometry))
        memory = HostMemory(
            generation: 1,
            regions: [
                Self.region(rings, Self.ringStart, Self.ringByteCount),
                Self.region(data, Self.dataStart, Self.dataByteCount),
            ])
    }

    private static func fresh(_ byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "fuzz", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }

    private static func region(_ mapping: Mapping, _ start: UInt64, _ count: Int) -> HostRegion {
        HostRegion(
            guestAddress: start, byteCount: UInt64(count), userAddress: start, mapping: mapping,
            mappingOffset: canaryByteCount)
    }

    /// One input's world.
    private struct Driver {
        var tails = [0, 0]
        var head = 0
        var phase = true
        var nextID: UInt16 = 0
        var open: Set<UInt16> = []
        /// A doorbell was written at random: old entries may be served again.
        var isWild = false
    }

    func run(_ bytes: ArraySlice<UInt8>) {
        guard let choice = bytes.first else { return }
        for mapping in [rings, data, pages, function] { mapping.bytes.segment.fill(with: 0) }
        var driver = Driver()
        guard var queue = open(choice) else { return }
        var rest = bytes.dropFirst()
        var now = Ticks(1000)
        while let kind = rest.popFirst() {
            switch kind & 7 {
            case 0, 1, 2: push(&rest, to: Int(kind >> 3 & 1), kind, &driver)
            case 3: describe(&rest)
            case 4 where kind & 0xF8 == 0xF8: ringWildly(&rest, &driver)
            case 5 where kind & 0x38 == 0x38:
                // The service dies: a queue that discards writes neither ring nor journal.
                end(&queue, now)
                guard let next = open(choice) else { return }
                queue = next
            case 6: _ = queue.abort(submission: UInt16(kind >> 3 & 1) + 1, command: driver.nextID)
            default: turn(&queue, &driver, &now)
            }
        }
        for _ in 0..<200 where !driver.isWild { turn(&queue, &driver, &now) }
        precondition(
            driver.open.isEmpty || driver.isWild || queue.phase != .running,
            "the device does not answer")
        end(&queue, now)
        checkCanaries()
    }

    private func end(_ queue: inout IOQueue, _ now: Ticks) {
        queue.discard()
        for _ in 0..<200 where !queue.isDrained { _ = queue.poll(now: now) }
        precondition(queue.isDrained, "the device does not end")
    }

    private func open(_ choice: UInt8) -> IOQueue? {
        guard
            let channel = try? disk.openChannel(depth: IOQueue.channelDepth, at: site),
            let journal = try? NVMeMemory(adopting: function, queueCount: 3)
        else { return nil }
        let setup = CompletionQueueSetup(
            id: 1, address: Self.ringStart + UInt64(Self.completionOffset),
            size: Self.completionSize, vector: 0, isInterruptEnabled: true, head: doorbell(3))
        guard
            var queue = try? IOQueue(
                setup, memory: memory, journal: journal, interrupt: SilentLine(),
                shape: QueueShape(transferByteLimit: 1 << 15, namespaceLimit: 4),
                counters: QueueCounters())
        else { return nil }
        for index in 0..<2 {
            let submission = SubmissionQueueSetup(
                id: UInt16(index + 1), address: Self.ringStart + UInt64(4096 * index),
                size: Self.size, completionQueue: 1, tail: doorbell(2 * index + 2))
            guard (try? queue.add(submission)) != nil else { return nil }
        }
        queue.attach(
            NamespaceView(
                id: 1, blockShift: 9, blockCount: 128, isReadOnly: choice & 1 != 0,
                hasCache: choice & 2 == 0, offersWriteZeroes: choice & 4 == 0,
                offersCompare: choice & 8 == 0, offersDeallocate: choice & 16 == 0,
                offersVerify: choice & 32 == 0),
            channel: channel)
        return queue
    }

    private func doorbell(_ number: Int) -> Doorbell {
        .page(pages.bytes.part(at: 4 * number, byteCount: 4))
    }

    /// An address in the data, at a page or anywhere, or outside.
    private func address(_ rest: inout ArraySlice<UInt8>) -> UInt64 {
        let page = UInt64(rest.popFirst() ?? 0)
        let offset = UInt64(rest.popFirst() ?? 0)
        return Self.dataStart + (page % 17) << 12 + (offset << (page >> 5))
    }

    /// A command of few bytes, with an id that nobody else has.
    private func push(
        _ rest: inout ArraySlice<UInt8>, to index: Int, _ kind: UInt8, _ driver: inout Driver
    ) {
        let next = (driver.tails[index] + 1) % Self.size
        // A driver knows that its ring is full by the head in completions; ours counts.
        if driver.open.count >= Self.size - 1 { return }
        let head = rest.popFirst() ?? 0
        let flags = rest.popFirst() ?? 0
        let entry = rings.bytes.part(
            at: Self.canaryByteCount + 4096 * index + 64 * driver.tails[index], byteCount: 64)
        entry.segment.fill(with: 0)
        let opcodes: [UInt8] = [0, 1, 2, 5, 8, 9, 12, head]
        entry.store(opcodes[Int(head & 7)], at: 0)
        // Fused and SGL in their place, reserved bits too.
        entry.store(flags & 0xC3, at: 1)
        entry.store(driver.nextID, at: 2)
        entry.store(UInt32(head >> 3 & 3 == 3 ? flags : 1), at: 4)
        entry.store(address(&rest), at: 24)
        if flags & 0xC0 == 0 {
            entry.store(address(&rest), at: 32)
        } else {
            entry.store(UInt16(rest.popFirst() ?? 0) << 4 | UInt16(head >> 4), at: 32)
            entry.store(rest.popFirst() ?? 0, at: 39)
        }
        let block = rest.popFirst() ?? 0
        entry.store(UInt32(block & 0x7F), at: 40)
        entry.store(UInt32(block >> 7) << 2, at: 44)
        entry.store(UInt16((rest.popFirst() ?? 0) & 0x7F), at: 48)
        entry.store(UInt8(kind & 0x40), at: 51)
        driver.open.insert(driver.nextID)
        driver.nextID &+= 1
        driver.tails[index] = next
        if kind & 0x80 == 0 { ring(driver) }
    }

    private func ring(_ driver: Driver) {
        pages.bytes.storeRelease32(UInt32(driver.tails[0]), at: 8)
        pages.bytes.storeRelease32(UInt32(driver.tails[1]), at: 16)
    }

    private func ringWildly(_ rest: inout ArraySlice<UInt8>, _ driver: inout Driver) {
        driver.isWild = true
        let number = Int(rest.popFirst() ?? 0) % 6
        pages.bytes.storeRelease32(UInt32(rest.popFirst() ?? 0), at: 4 * number)
    }

    /// An entry of a list: an address, or a descriptor, or bytes.
    private func describe(_ rest: inout ArraySlice<UInt8>) {
        let place = Int(rest.popFirst() ?? 0)
        let kind = rest.popFirst() ?? 0
        let offset = (place & 15) * 4096 + (kind & 0x80 != 0 ? 4096 - 8 : 8 * Int(kind & 15))
        let entry = data.bytes.part(at: Self.canaryByteCount + offset, byteCount: 8)
        entry.store(address(&rest), at: 0)
        if kind & 0x40 != 0 {
            entry.store(UInt32(rest.popFirst() ?? 0) << 4, at: 0)
            entry.store(UInt32(rest.popFirst() ?? 0) << 24, at: 4)
        }
    }

    private func turn(_ queue: inout IOQueue, _ driver: inout Driver, _ now: inout Ticks) {
        if !driver.isWild { ring(driver) }
        _ = queue.poll(now: now)
        _ = queue.enableDoorbellEvents()
        queue.disableDoorbellEvents()
        now = now.advanced(by: 10)
        while true {
            let offset = Self.canaryByteCount + Self.completionOffset + 16 * driver.head
            let word = rings.bytes.loadAcquire64(at: offset + 8)
            if (word >> 48 & 1 != 0) != driver.phase { break }
            let id = UInt16(truncatingIfNeeded: word >> 32)
            let isOpen = driver.open.remove(id) != nil
            precondition(isOpen || driver.isWild, "answered twice, or never asked")
            driver.head += 1
            if driver.head == Self.completionSize {
                driver.head = 0
                driver.phase.toggle()
            }
            if !driver.isWild { pages.bytes.storeRelease32(UInt32(driver.head), at: 12) }
            if driver.isWild && driver.head == 0 { break }
        }
    }

    private func checkCanaries() {
        for mapping in [rings, data] {
            for start in [0, mapping.byteCount - Self.canaryByteCount] {
                for offset in stride(from: 0, to: Self.canaryByteCount, by: 8) {
                    let word = mapping.bytes.load(UInt64.self, at: start + offset)
                    precondition(word == 0, "written outside granted memory")
                }
            }
        }
    }
}

private final class SilentLine: InterruptLine {
    func raise() -> Bool { true }
}
