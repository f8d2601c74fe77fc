import Memory
import Platform
import Testing

@Suite struct `Host memory` {
    static let page: UInt64 = 4096

    /// Two regions with a hole between them, the second at an offset in its file.
    func makeMemory() throws -> (HostMemory, [Mapping]) {
        let mappings = try (0..<2).map { _ in
            let file = try MemoryFile.create(name: "host", byteCount: 4 * Self.page)
            return try Mapping(file.number, byteCount: Int(4 * Self.page))
        }
        let regions = [
            HostRegion(
                guestAddress: 0, byteCount: 4 * Self.page, userAddress: 1 << 40,
                mapping: mappings[0], mappingOffset: 0),
            HostRegion(
                guestAddress: 1 << 32, byteCount: 2 * Self.page, userAddress: 1 << 41,
                mapping: mappings[1], mappingOffset: Int(Self.page)),
        ]
        return (HostMemory(generation: 1, regions: regions), mappings)
    }

    @Test func `finds bytes by guest address`() throws {
        let (memory, mappings) = try makeMemory()
        mappings[1].bytes.store(UInt32(0xCAFE), at: 4096 + 8)
        let segment = try #require(memory.segment(at: 1 << 32 + 8, byteCount: 4))
        #expect(segment.load(UInt32.self) == 0xCAFE)
    }

    @Test func `cuts a run at the end of its region`() throws {
        let (memory, _) = try makeMemory()
        #expect(memory.segment(at: 4 * Self.page - 1, byteCount: 100)?.byteCount == 1)
        #expect(memory.segment(at: 4 * Self.page, byteCount: 1) == nil)
        #expect(memory.segment(at: 1 << 32 - 1, byteCount: 1) == nil)
        #expect(memory.segment(at: .max, byteCount: 2) == nil)
        #expect(memory.segment(at: 1 << 32 + 2 * Self.page - 1, byteCount: 9)?.byteCount == 1)
    }

    @Test func `gives a shared view only of what lies in one region whole`() throws {
        let (memory, _) = try makeMemory()
        #expect(memory.shared(atUserAddress: 1 << 41, byteCount: 8192)?.byteCount == 8192)
        #expect(memory.shared(atUserAddress: 1 << 41, byteCount: 8193) == nil)
        #expect(memory.shared(atUserAddress: 1 << 41 + 8192, byteCount: 0) == nil)
        #expect(memory.shared(atUserAddress: 1 << 41 - 1, byteCount: 1) == nil)
        #expect(memory.shared(at: 0, byteCount: 16384) != nil)
        #expect(memory.shared(at: 1, byteCount: 16384) == nil)
    }

    @Test func `survives a file that is cut short and says so`() throws {
        let path = "/dev/shm/softsnap-test-\(ProcessFacts.identifier)"
        let file = try FileSystem.open(path, .replace)
        try FileSystem.remove(path)
        try FileSystem.resize(file.number, byteCount: 4 * Self.page)
        let mapping = try Mapping(file.number, byteCount: Int(4 * Self.page))
        let memory = HostMemory(
            generation: 1,
            regions: [
                HostRegion(
                    guestAddress: 0, byteCount: 4 * Self.page, userAddress: 0,
                    mapping: mapping, mappingOffset: 0)
            ])
        mapping.bytes.segment.fill(with: 1)
        try FileSystem.resize(file.number, byteCount: Self.page)
        #expect(!memory.isDead)
        let segment = try #require(memory.segment(at: 2 * Self.page, byteCount: 8))
        #expect(segment.load(UInt64.self) == 0)
        #expect(memory.isDead)
        segment.store(UInt64(7))
        // What is left of the file is still there.
        #expect(mapping.bytes.load(UInt8.self, at: 0) == 1)
    }

    @Test func `stops the process when a region leaves its mapping`() async {
        await #expect(processExitsWith: .failure) {
            let file = try MemoryFile.create(name: "host", byteCount: 4096)
            let mapping = try Mapping(file.number, byteCount: 4096)
            _ = HostMemory(
                generation: 1,
                regions: [
                    HostRegion(
                        guestAddress: 0, byteCount: 4096, userAddress: 0, mapping: mapping,
                        mappingOffset: 1)
                ])
        }
    }
}

@Suite struct `Shared bytes` {
    @Test func `stop the process at an access outside or unaligned`() async throws {
        await #expect(processExitsWith: .failure) {
            _ = try Sandbox(byteCount: 4096).mapping.bytes.load(UInt16.self, at: 4095)
        }
        await #expect(processExitsWith: .failure) {
            _ = try Sandbox(byteCount: 4096).mapping.bytes.loadAcquire16(at: 1)
        }
        await #expect(processExitsWith: .failure) {
            _ = try Sandbox(byteCount: 4096).mapping.bytes.load(UInt16.self, at: -1)
        }
        let bytes = try Sandbox(byteCount: 4096).mapping.bytes
        #expect(bytes.byteCount == 4096)
    }
}
