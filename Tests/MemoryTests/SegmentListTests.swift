import Memory
import Platform
import Testing

/// Memory of this test process, and lists that cut it up.
struct Sandbox: ~Copyable {
    let mapping: Mapping
    let arena = SegmentArena(capacity: 64)

    init(byteCount: Int = 65536) throws {
        let file = try MemoryFile.create(name: "sandbox", byteCount: UInt64(byteCount))
        mapping = try Mapping(file.number, byteCount: byteCount)
    }

    var bytes: HostSegment { mapping.bytes.segment }

    func list(_ parts: [Range<Int>]) -> SegmentList {
        for (index, part) in parts.enumerated() {
            arena[index] = bytes.part(at: part.lowerBound, byteCount: part.count)
        }
        return arena.list(at: 0, count: parts.count)
    }
}

@Suite struct `Segment list` {
    let numbers = (0..<100).map { UInt8($0) }

    @Test func `gathers and scatters across its parts`() throws {
        let sandbox = try Sandbox()
        let list = sandbox.list([1000..<1001, 2000..<2000, 3000..<3070, 500..<529])
        #expect(list.byteCount == 100)
        let source = sandbox.bytes.part(at: 10_000, byteCount: 100)
        source.store(bytes: numbers)
        list.scatter(from: source)
        #expect(sandbox.bytes.load(UInt8.self, at: 1000) == 0)
        #expect(sandbox.bytes.load(UInt8.self, at: 3069) == 70)
        #expect(sandbox.bytes.load(UInt8.self, at: 528) == 99)
        let target = sandbox.bytes.part(at: 20_000, byteCount: 100)
        list.gather(into: target)
        #expect(target.bytes() == numbers)
    }

    /// Every division of the list in two.
    @Test func `gathers and scatters any part of itself`() throws {
        let sandbox = try Sandbox()
        let list = sandbox.list([0..<7, 100..<101, 200..<242, 300..<350])
        let source = sandbox.bytes.part(at: 10_000, byteCount: 100)
        let target = sandbox.bytes.part(at: 20_000, byteCount: 100)
        source.store(bytes: numbers)
        for middle in 0...100 {
            list.fill(with: 0xFF)
            list.scatter(source.part(at: middle, byteCount: 100 - middle), to: middle)
            list.scatter(source.part(at: 0, byteCount: middle), to: 0)
            target.fill(with: 0xEE)
            list.gather(from: 0, into: target.part(at: 0, byteCount: middle))
            list.gather(
                from: middle, into: target.part(at: middle, byteCount: 100 - middle))
            #expect(target.bytes() == numbers)
        }
    }

    @Test func `knows its alignment`() throws {
        let sandbox = try Sandbox()
        let list = sandbox.list([4096..<8192, 512..<1024])
        #expect(list.isAligned(to: 512) && !list.isAligned(to: 4096))
        #expect(list.isAligned(addresses: 512, lengths: 512))
        #expect(!list.isAligned(addresses: 1024, lengths: 512))
        #expect(!list.isAligned(addresses: 512, lengths: 1024))
        #expect(SegmentList.empty.isAligned(to: 4096) && SegmentList.empty.byteCount == 0)
    }

    @Test func `reads a value that its parts divide`() throws {
        let sandbox = try Sandbox()
        sandbox.bytes.store(UInt32(0x4433_2211), at: 0)
        sandbox.bytes.store(UInt32(0x8877_6655), at: 100)
        let list = sandbox.list([0..<3, 3..<4, 100..<104])
        #expect(list.load(UInt64.self) == 0x8877_6655_4433_2211)
    }

    @Test func `stops the process when scattered past its end`() async {
        await #expect(processExitsWith: .failure) {
            let sandbox = try Sandbox()
            let list = sandbox.list([0..<10])
            list.scatter(sandbox.bytes.part(at: 100, byteCount: 6), to: 5)
        }
    }

    @Test func `stops the process when a part is cut outside its segment`() async {
        await #expect(processExitsWith: .failure) {
            let sandbox = try Sandbox()
            _ = sandbox.bytes.part(at: 65530, byteCount: 7)
        }
    }
}
