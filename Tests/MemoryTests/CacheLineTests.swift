import Memory
import Platform
import Testing

@Suite struct `Cache line` {
    private func bytes() throws -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: 4096)
        let mapping = try Mapping(file.number, byteCount: 4096)
        for offset in 0..<256 { mapping.bytes.store(UInt8(offset), at: offset) }
        return mapping
    }

    @Test func `it holds the words of its place`() throws {
        let mapping = try bytes()
        let line = mapping.bytes.loadLine(at: 64)
        #expect(line.word0 == mapping.bytes.load(UInt64.self, at: 64))
        #expect(line.word7 == mapping.bytes.load(UInt64.self, at: 120))
        mapping.bytes.store(line, at: 512)
        #expect(mapping.bytes.loadLine(at: 512) == line)
        withExtendedLifetime(mapping) {}
    }

    @Test func `a word is read at any alignment`() throws {
        let mapping = try bytes()
        for start in 0..<9 {
            let part = mapping.bytes.part(at: start, byteCount: 64).segment
            #expect(part.loadWord(at: 8) == mapping.bytes.load(UInt64.self, at: start + 8))
        }
        withExtendedLifetime(mapping) {}
    }

    @Test func `a list equals the bytes it lists`() throws {
        let mapping = try bytes()
        let arena = SegmentArena(capacity: 2)
        arena[0] = mapping.bytes.part(at: 10, byteCount: 20).segment
        arena[1] = mapping.bytes.part(at: 30, byteCount: 50).segment
        let list = arena.list(at: 0, count: 2)
        let same = mapping.bytes.part(at: 15, byteCount: 40).segment
        #expect(list.isEqual(to: same, from: 5))
        #expect(!list.isEqual(to: same, from: 6))
        mapping.bytes.part(at: 2000, byteCount: 40).segment.copy(from: same)
        mapping.bytes.store(UInt8(0xFF), at: 2039)
        #expect(!list.isEqual(to: mapping.bytes.part(at: 2000, byteCount: 40).segment, from: 5))
        withExtendedLifetime(mapping) {}
    }

    @Test func `beyond the end is a trap`() async {
        await #expect(processExitsWith: .failure) {
            let file = try MemoryFile.create(name: "test", byteCount: 4096)
            let mapping = try Mapping(file.number, byteCount: 4096)
            _ = mapping.bytes.loadLine(at: 4040)
        }
    }
}
