import Memory
import Platform

/// A host's memory as its driver sees it: two regions that touch in the guest's address space and
/// nowhere else, and a third one far away for the rings. The front end's addresses are different
/// ones again, so that a forgotten translation shows.
final class HostSpace {
    static let regionByteCount = 96 * 1024
    /// Slots lie here, some across the border of the first two regions.
    static let dataStart: UInt64 = 0x1_0000_0000
    static let ringStart: UInt64 = 0x8_0000_0000
    static let userShift: UInt64 = 0x7F00_0000_0000

    let memory: HostMemory
    private let mappings: [Mapping]
    private let starts: [UInt64]
    private let shadows: [Mapping]

    init() throws {
        let size = Self.regionByteCount
        starts = [Self.dataStart, Self.dataStart + UInt64(size), Self.ringStart]
        // The second region is mapped first and from the middle of its file.
        let second = try Mapping.fresh(byteCount: size + 8192)
        let first = try Mapping.fresh(byteCount: size)
        let rings = try Mapping.fresh(byteCount: size)
        mappings = [first, second, rings]
        shadows = try (0..<3).map { _ in try Mapping.fresh(byteCount: size) }
        let regions = zip(starts, mappings).enumerated().map { index, pair in
            HostRegion(
                guestAddress: pair.0, byteCount: UInt64(size),
                userAddress: pair.0 + Self.userShift, mapping: pair.1,
                mappingOffset: index == 1 ? 4096 : 0)
        }
        memory = HostMemory(generation: 1, regions: regions)
    }

    private func view(_ index: Int) -> SharedBytes {
        mappings[index].bytes.part(at: index == 1 ? 4096 : 0, byteCount: Self.regionByteCount)
    }

    /// Memory of the ring region.
    func rings(at offset: Int, byteCount: Int) -> SharedBytes {
        view(2).part(at: offset, byteCount: byteCount)
    }

    /// The runs of host memory behind `byteCount` bytes at `address`.
    func parts(_ address: UInt64, _ byteCount: Int) -> [HostSegment] {
        var parts: [HostSegment] = []
        var address = address
        var left = byteCount
        while left > 0, let part = memory.segment(at: address, byteCount: left) {
            parts.append(part)
            address += UInt64(part.byteCount)
            left -= part.byteCount
        }
        precondition(left == 0, "the driver uses its own memory only")
        return parts
    }

    func write(_ bytes: [UInt8], at address: UInt64) {
        var done = 0
        for part in parts(address, bytes.count) {
            part.store(bytes: Array(bytes[done..<done + part.byteCount]))
            done += part.byteCount
        }
    }

    func read(_ address: UInt64, _ byteCount: Int) -> [UInt8] {
        parts(address, byteCount).flatMap { $0.bytes() }
    }

    // --- tables, images ---

    /// The table without the regions of these numbers.
    func table(generation: UInt64, without lost: Set<Int>) -> HostMemory {
        HostMemory(
            generation: generation,
            regions: memory.regions.enumerated().filter { !lost.contains($0.offset) }
                .map(\.element))
    }

    /// All of it, region by region.
    var areas: [SharedBytes] { (0..<3).map(view) }

    // --- canaries ---

    /// Remembers all of it.
    func remember() {
        for index in 0..<3 { shadows[index].bytes.segment.copy(from: view(index).segment) }
    }

    /// Whether nothing but `allowed` (guest addresses) has changed since `remember`.
    func isUntouched(except allowed: [(address: UInt64, byteCount: Int)]) -> Bool {
        for range in allowed {
            var address = range.address
            for part in parts(range.address, range.byteCount) {
                let index = starts.lastIndex { $0 <= address } ?? 0
                shadows[index].bytes.segment.part(
                    at: Int(address - starts[index]), byteCount: part.byteCount
                ).copy(from: part)
                address += UInt64(part.byteCount)
            }
        }
        return (0..<3).allSatisfy { view($0).segment.isEqual(to: shadows[$0].bytes.segment) }
    }

    /// Every page, by number in the guest's address space.
    var pages: [UInt64] {
        starts.flatMap { start in
            (0..<UInt64(Self.regionByteCount / 4096)).map { start / 4096 + $0 }
        }
    }

    /// Pages that are not as they were at `remember`.
    func changedPages() -> Set<UInt64> {
        var changed: Set<UInt64> = []
        for (index, start) in starts.enumerated() {
            let shadow = shadows[index].bytes
            for offset in stride(from: 0, to: Self.regionByteCount, by: 4096) {
                let now = view(index).part(at: offset, byteCount: 4096).segment
                if !now.isEqual(to: shadow.part(at: offset, byteCount: 4096).segment) {
                    changed.insert((start + UInt64(offset)) / 4096)
                }
            }
        }
        return changed
    }

    func fill(with byte: UInt8) {
        for index in 0..<2 { view(index).segment.fill(with: byte) }
    }
}

extension Mapping {
    static func fresh(byteCount: Int) throws -> Mapping {
        let file = try MemoryFile.create(name: "test", byteCount: UInt64(byteCount))
        return try Mapping(file.number, byteCount: byteCount)
    }
}
