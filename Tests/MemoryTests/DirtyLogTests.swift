import Memory
import Platform
import Seeds
import Testing

@Suite struct `Dirty log` {
    private func make(
        byteCount: Int, offset: Int = 0
    ) throws -> (log: DirtyLog, bitmap: SharedBytes, mapping: Mapping) {
        let file = try MemoryFile.create(name: "log", byteCount: UInt64(offset + byteCount + 64))
        let mapping = try Mapping(file.number, byteCount: offset + byteCount + 64)
        let log = DirtyLog(mapping, offset: offset, byteCount: byteCount)
        return (log, mapping.bytes.part(at: offset, byteCount: byteCount + 64), mapping)
    }

    private func pages(_ bitmap: SharedBytes) -> [Int] {
        (0..<8 * bitmap.byteCount).filter {
            bitmap.loadAcquire8(at: $0 / 8) & 1 << UInt8($0 % 8) != 0
        }
    }

    struct Range: Sendable {
        let address: UInt64
        let byteCount: Int
        let pages: [Int]

        init(_ address: UInt64, _ byteCount: Int, _ pages: [Int]) {
            (self.address, self.byteCount, self.pages) = (address, byteCount, pages)
        }
    }

    @Test(arguments: [
        Range(0, 1, [0]), Range(4095, 1, [0]), Range(4095, 2, [0, 1]), Range(4096, 4096, [1]),
        Range(4096, 4097, [1, 2]), Range(28672, 4096, [7]), Range(28673, 4096, [7, 8]),
        Range(32768, 36864, Array(8...16)), Range(20480, 81920, Array(5...24)),
        Range(0, 0, []), Range(126976, 1, [31]),
    ])
    func `has a bit for each page of a range`(range: Range) throws {
        let (log, bitmap, _) = try make(byteCount: 4)
        log.mark(range.address, byteCount: range.byteCount)
        #expect(pages(bitmap) == range.pages)
    }

    @Test(arguments: [
        Range(131072, 1, []), Range(126976, 8192, [31]), Range(.max, 1, []),
        Range(.max - 4095, 9000, []), Range(122880, .max, [30, 31]),
    ])
    func `leaves out pages past its end`(range: Range) throws {
        let (log, bitmap, _) = try make(byteCount: 4, offset: 8192)
        log.mark(range.address, byteCount: range.byteCount)
        #expect(pages(bitmap) == range.pages)
    }

    @Test func `says how far it reaches`() {
        #expect(DirtyLog.reach(byteCount: 1) == 8 * 4096)
        #expect(DirtyLog.reach(byteCount: .max) == .max)
    }

    @Test func `loses no mark of many threads`() async throws {
        let (log, bitmap, _) = try make(byteCount: 512)
        await withTaskGroup(of: Void.self) { group in
            for part in 0..<8 {
                group.addTask {
                    for page in stride(from: part, to: 4096, by: 8) {
                        log.mark(UInt64(page) * 4096 + 5, byteCount: 1)
                    }
                }
            }
        }
        #expect(pages(bitmap) == Array(0..<4096))
    }

    @Test(arguments: Seed.sample(4))
    func `marks what a set of pages would have`(seed: Seed) throws {
        var random = seed
        let (log, bitmap, _) = try make(byteCount: 64)
        var expected: Set<Int> = []
        for _ in 0..<60 {
            let (address, byteCount) = (random.pick(0...2_200_000), random.pick(0...90_000))
            log.mark(UInt64(address), byteCount: byteCount)
            if byteCount == 0 { continue }
            for page in address / 4096...(address + byteCount - 1) / 4096 where page < 512 {
                expected.insert(page)
            }
        }
        #expect(pages(bitmap) == expected.sorted(), "\(seed)")
    }

    @Test(.enabled(if: Effort.survivesAtomicFaults, "ThreadSanitizer stands still in a fault"))
    func `survives a file that is cut short and says so`() throws {
        let path = "/dev/shm/softsnap-log-\(ProcessFacts.identifier)"
        let file = try FileSystem.open(path, .replace)
        try FileSystem.remove(path)
        try FileSystem.resize(file.number, byteCount: 8192)
        let mapping = try Mapping(file.number, byteCount: 8192)
        let log = DirtyLog(mapping, offset: 0, byteCount: 8192)
        try FileSystem.resize(file.number, byteCount: 4096)
        log.mark(0, byteCount: 1)
        #expect(!log.isDead)
        log.mark(4096 * 8 * 5000, byteCount: 1)
        #expect(log.isDead)
    }

    @Test func `finds segments in the guest's address space`() throws {
        let mapping = try Mapping.fresh(pages: 8)
        // Typed: a shift of two literals beside an optional is compared as `AnyHashable`.
        let gibibyte: UInt64 = 1 << 30
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: gibibyte, byteCount: 4 * 4096, userAddress: 1 << 40,
                    mapping: mapping, mappingOffset: 4096),
                HostRegion(
                    guestAddress: 0, byteCount: 2 * 4096, userAddress: 1 << 41,
                    mapping: mapping, mappingOffset: 5 * 4096),
            ])
        let bytes = mapping.bytes
        func place(_ offset: Int, _ byteCount: Int) -> UInt64? {
            memory.guestAddress(of: bytes.part(at: offset, byteCount: byteCount).segment)
        }
        #expect(place(4096, 10) == gibibyte)
        #expect(place(5 * 4096 - 1, 1) == gibibyte + 4 * 4096 - 1)
        #expect(place(5 * 4096, 2 * 4096) == 0)
        #expect(place(4095, 1) == nil && place(7 * 4096, 1) == nil)
        // Across the border of two regions: no segment is.
        #expect(place(5 * 4096 - 1, 2) == nil)
        let (log, bitmap, _) = try make(byteCount: 1 << 16)
        memory.mark(bytes.part(at: 2 * 4096 - 1, byteCount: 2).segment, in: log)
        #expect(pages(bitmap) == [1 << 18, 1 << 18 + 1])
    }
}

extension Mapping {
    static func fresh(pages: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: UInt64(4096 * pages))
        return try Mapping(file.number, byteCount: 4096 * pages)
    }
}
