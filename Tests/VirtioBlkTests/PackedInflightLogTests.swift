import CWire
import Memory
import Platform
import Testing

@testable import VirtioBlk

/// A packed queue's in-flight log when its owner dies between any two steps.
@Suite struct `Packed in-flight log` {
    private static let size = 8

    /// A log and the flags of a ring, both in memory that survives.
    private final class Survivor {
        let mapping: Mapping
        var usedFlags: [Bool: Set<UInt16>] = [:]

        init() throws {
            let file = try MemoryFile.create(name: "log", byteCount: 4096)
            mapping = try Mapping(file.number, byteCount: 4096)
        }

        func open(_ position: VirtqueuePosition) throws -> PackedInflightLog {
            try PackedInflightLog(
                area: mapping.bytes, queueSize: `Packed in-flight log`.size, position: position)
        }
    }

    private func descriptors(_ count: Int, id: UInt16) -> RingCopy {
        var copy = RingCopy(capacity: Self.size)
        for index in 0..<count {
            copy.append(
                UInt64(0x1000 * Int(id) + index), 512 | UInt64(id) << 32 | UInt64(index) << 48)
        }
        return copy
    }

    /// Where death strikes while the first of two chains is answered.
    enum Death: CaseIterable {
        case beforeEnding
        case afterEnding
        case afterUse
        case afterEnded
    }

    @Test(arguments: Death.allCases)
    func `is settled after a death between any two steps`(death: Death) throws {
        let survivor = try Survivor()
        let start = VirtqueuePosition()
        var isUsedVisible = false
        do {
            var log = try survivor.open(start)
            let first = try log.began(descriptors(3, id: 1))
            _ = try log.began(descriptors(2, id: 2))
            var after = start
            after.nextUsed = 3
            if death != .beforeEnding { log.ending(first, usedAfter: after) }
            if death == .afterUse || death == .afterEnded { isUsedVisible = true }
            if death == .afterEnded { log.ended(first, at: after) }
        }
        var log = try survivor.open(start)
        let isFresh = log.isFresh
        #expect(!isFresh)
        let standing = try log.settle { _ in isUsedVisible }
        let heads = log.outstanding()
        #expect(standing.usedIndex == (isUsedVisible ? 3 : 0))
        #expect(heads.count == (isUsedVisible ? 1 : 2))
        var copy = RingCopy(capacity: Self.size)
        log.read(try #require(heads.last), into: &copy)
        #expect(copy.count == 2)
        #expect(copy[1].low == 0x2001)
        // All of the ring can be taken again: no entry was lost.
        _ = try log.began(descriptors(Self.size - (isUsedVisible ? 2 : 5), id: 3))
        do {
            _ = try log.began(descriptors(1, id: 4))
            Issue.record("took more descriptors than the ring has")
        } catch { #expect(error == .availableIndex) }
    }

    @Test
    func `refuses lists that a front end has tampered with`() throws {
        for offset in stride(from: 12, to: 32 + 32 * Self.size, by: 2) {
            let survivor = try Survivor()
            do {
                var log = try survivor.open(VirtqueuePosition())
                _ = try log.began(descriptors(3, id: 1))
            }
            survivor.mapping.bytes.store(UInt16(0x1234), at: offset)
            var log = try survivor.open(VirtqueuePosition())
            // Either it is refused, or what it says is within the ring.
            guard let standing = try? log.settle(isUsed: { _ in false }) else { continue }
            #expect(standing.usedIndex < UInt16(Self.size))
            for head in log.outstanding() {
                var copy = RingCopy(capacity: Self.size)
                log.read(head, into: &copy)
                #expect(copy.count <= Self.size)
            }
        }
    }
}
