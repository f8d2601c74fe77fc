import Bdev
import Memory
import Platform
import VirtioBlk

/// What a driver can put into its memory: the first bytes choose the ring, the rest is written to
/// its areas in records of place and content, with turns of the device in between.
///
/// Traps when the device writes outside the memory it was granted.
final class RingFuzzer: @unchecked Sendable {
    // Sendable: libFuzzer calls from one thread only.
    private static let byteCount = 16 * 1024
    private static let canaryByteCount = 4096
    private static let userStart: UInt64 = 1 << 40
    private static let guestStart: UInt64 = 1 << 32
    /// Descriptors, driver area, device area, in-flight area (outside), headers, indirect table.
    private static let places = [0, 1024, 2048, 4096, 4352, 6144]

    private let mapping: Mapping
    private let log: Mapping
    private let disk: BlockDevice
    private let line = SilentLine()

    init() throws {
        let whole = Self.byteCount + 2 * Self.canaryByteCount
        mapping = try Self.fresh(whole)
        log = try Self.fresh(4096)
        let geometry = BlockGeometry(blockByteCount: 512, blockCount: 32)
        disk = BlockDevice(
            name: "disk", backend: MallocBackend(try Self.fresh(32 * 512), geometry))
    }

    private static func fresh(_ byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "fuzz", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }

    func run(_ bytes: ArraySlice<UInt8>) {
        guard bytes.count > 4 else { return }
        mapping.bytes.segment.fill(with: 0)
        log.bytes.segment.fill(with: 0)
        let choice = Array(bytes.prefix(3))
        guard var queue = makeQueue(choice) else { return }
        var rest = bytes.dropFirst(3)
        var now = Ticks(1000)
        // A front end may keep the log and write to it too.
        while !rest.isEmpty {
            write(&rest)
            _ = queue.poll(now: now)
            _ = queue.enableKicks()
            now = now.advanced(by: 10)
        }
        queue.discard()
        for _ in 0..<100 where !queue.isDrained { _ = queue.poll(now: now) }
        precondition(queue.isDrained, "the device does not end")
        checkCanaries()
    }

    private func makeQueue(_ choice: [UInt8]) -> BlockQueue? {
        let isPacked = choice[0] & 1 != 0
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: Self.guestStart, byteCount: UInt64(Self.byteCount),
                    userAddress: Self.userStart, mapping: mapping,
                    mappingOffset: Self.canaryByteCount)
            ])
        let size = isPacked ? Int(choice[1] % 16) + 1 : 1 << Int(choice[1] % 5)
        let setup = VirtqueueSetup(
            size: size, isPacked: isPacked, usesEventIndex: choice[0] & 2 != 0,
            allowsIndirect: choice[0] & 4 != 0, descriptorArea: Self.userStart,
            driverArea: Self.userStart + 1024, deviceArea: Self.userStart + 2048,
            position: VirtqueuePosition(
                vringBase: isPacked ? 0x8000_8000 : 0, isPacked: isPacked))
        let shape = BlockShape(
            sectorCount: 32, blockByteCount: 512, segmentByteLimit: 65536, segmentLimit: 16,
            queueCount: 1, isReadOnly: choice[0] & 8 != 0, offersDiscard: true,
            offersWriteZeroes: true)
        guard let channel = try? disk.openChannel(depth: size, at: site) else { return nil }
        return try? BlockQueue(
            setup, memory: memory, log: choice[0] & 16 != 0 ? log.bytes : nil,
            configuration: BlockQueue.Configuration(
                shape: shape, identifier: [65], isInOrder: choice[0] & 32 != 0),
            channel: channel, interrupt: line, counters: QueueCounters())
    }

    private let site = ChannelSite(watch: { _ in }, unwatch: { _ in })

    /// One record: where, how long, what. Bit 7 of the first byte ends the turn.
    private func write(_ rest: inout ArraySlice<UInt8>) {
        while rest.count >= 3 {
            let place = rest.removeFirst()
            let offset = Int(rest.removeFirst())
            let content = Array(rest.prefix(Int(place >> 3 & 15) + 1))
            rest = rest.dropFirst(content.count)
            if place & 7 == 3 {
                log.bytes.part(at: offset * 4, byteCount: 16).segment.store(bytes: content)
            } else {
                let start = Self.places[Int(place & 7) % Self.places.count] + offset * 2
                mapping.bytes.part(at: Self.canaryByteCount + start, byteCount: 16)
                    .segment.store(bytes: content)
            }
            if place & 0x80 != 0 { return }
        }
        rest = []
    }

    private func checkCanaries() {
        let end = mapping.byteCount - Self.canaryByteCount
        for start in [0, end] {
            for offset in stride(from: 0, to: Self.canaryByteCount, by: 8) {
                let word = mapping.bytes.load(UInt64.self, at: start + offset)
                precondition(word == 0, "written outside granted memory")
            }
        }
    }
}

private final class SilentLine: InterruptLine {
    func raise() -> Bool { true }
}

#if FUZZING
    private let fuzzer = try? RingFuzzer()

    // libFuzzer calls by this name and with a bare pointer: the one place where it may stand.
    @_cdecl("LLVMFuzzerTestOneInput")
    public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
        let buffer = unsafe UnsafeBufferPointer(start: start, count: count)
        fuzzer?.run(unsafe Array(buffer)[...])
        return 0
    }
#else
    /// Without a fuzzer it serves one request, so that the target stays buildable.
    @main struct Fuzz {
        static func main() throws {
            let fuzzer = try RingFuzzer()
            let header: [UInt8] = [0x78, 0, 0, 0x11, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0]
            let available: [UInt8] = [0x99, 1, 1, 0, 0, 0]
            fuzzer.run(([0, 3, 0] + header + available)[...])
        }
    }
#endif
