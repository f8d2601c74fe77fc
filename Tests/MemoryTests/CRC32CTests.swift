import Platform
import Seeds
import Testing

@testable import Memory

@Suite struct `CRC-32C` {
    @Test func `is that of RFC 3720`() throws {
        let file = try MemoryFile.create(name: "crc", byteCount: 4096)
        let mapping = try Mapping(file.number, byteCount: 4096)
        defer { withExtendedLifetime(mapping) {} }
        let memory = mapping.bytes.segment
        for (bytes, digest) in [
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
            ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
            ((0..<32).map { UInt8($0) }, 0x46DD_794E), ([], 0),
        ] as [([UInt8], UInt32)] {
            memory.store(bytes: bytes)
            #expect(CRC32C.digest(of: memory.part(at: 0, byteCount: bytes.count)) == digest)
        }
    }

    /// With and without the processor's instruction, however the bytes come.
    @Test(arguments: Seed.sample(20))
    func `does not depend on how it is computed`(seed: Seed) throws {
        var seed = seed
        let file = try MemoryFile.create(name: "crc", byteCount: 4096)
        let mapping = try Mapping(file.number, byteCount: 4096)
        defer { withExtendedLifetime(mapping) {} }
        let memory = mapping.bytes.segment
        memory.store(bytes: (0..<4096).map { _ in UInt8.random(in: 0...255, using: &seed) })
        let size = seed.pick(0...4000)
        let all = memory.part(at: seed.pick(0...90), byteCount: size)
        let cut = seed.pick(0...size)
        var parts = CRC32C()
        parts.add(all.part(at: 0, byteCount: cut))
        parts.addByTable(all.part(at: cut, byteCount: size - cut))
        #expect(parts.digest == CRC32C.digest(of: all))
    }
}
