/// What a disk may hold: for each block every write that a read could still see.
///
/// A write may be seen from its submission on. It stops being possible when another one that began
/// after it had ended has been acknowledged before the read began. A failed write, or one that was
/// lost with a reset, stays possible until then.
struct DiskModel {
    struct Version {
        let stamp: UInt64
        let start: Int
        /// Nil while under way.
        var end: Int?
        var isAcknowledged = false
    }

    private var blocks: [[Version]]
    /// Counts events.
    private(set) var time = 0

    init(blockCount: Int) {
        let blank = Version(stamp: 0, start: -1, end: -1, isAcknowledged: true)
        blocks = Array(repeating: [blank], count: blockCount)
    }

    mutating func tick() -> Int {
        time += 1
        return time
    }

    mutating func began(_ stamp: UInt64, _ range: Range<Int>, at start: Int) {
        for block in range {
            blocks[block].append(Version(stamp: stamp, start: start, end: nil))
        }
    }

    /// - Parameter oldestRead: when the oldest read that is under way began.
    mutating func ended(
        _ stamp: UInt64, _ range: Range<Int>, start: Int, isAcknowledged: Bool, oldestRead: Int
    ) {
        let end = tick()
        for block in range {
            for index in blocks[block].indices
            where blocks[block][index].stamp == stamp && blocks[block][index].start == start {
                blocks[block][index].end = end
                blocks[block][index].isAcknowledged = isAcknowledged
            }
            let versions = blocks[block]
            blocks[block] = versions.filter {
                DiskModel.isPossible($0, for: oldestRead, among: versions)
            }
        }
    }

    /// Whether a read that began at `start` and ends now may return `stamp`.
    func allows(_ stamp: UInt64, in block: Int, readSince start: Int) -> Bool {
        blocks[block].contains {
            $0.stamp == stamp
                && DiskModel.isPossible($0, for: start, among: blocks[block])
        }
    }

    /// The stamp that a read would find if nothing else were under way.
    func guess(_ block: Int) -> UInt64 { blocks[block].last?.stamp ?? 0 }

    /// Whether a read that began at `start` and ends now can return nothing but `stamp`.
    func isCertain(_ stamp: UInt64, in block: Int, readSince start: Int) -> Bool {
        blocks[block].allSatisfy {
            $0.stamp == stamp || !DiskModel.isPossible($0, for: start, among: blocks[block])
        }
    }

    /// A write that said that it has done nothing.
    mutating func withdrew(_ stamp: UInt64, _ range: Range<Int>, start: Int) {
        for block in range {
            blocks[block].removeAll { $0.stamp == stamp && $0.start == start }
        }
    }

    private static func isPossible(
        _ version: Version, for readStart: Int, among versions: [Version]
    ) -> Bool {
        guard let end = version.end else { return true }
        return !versions.contains { later in
            guard let laterEnd = later.end, later.isAcknowledged else { return false }
            return later.start > end && laterEnd < readStart
        }
    }
}

/// The content of a block that carries a stamp: every eight bytes say which write and where.
enum Stamp {
    static func bytes(_ stamp: UInt64, blockByteCount: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: blockByteCount)
        if stamp == 0 { return bytes }
        var index = 0
        while index < blockByteCount {
            bytes[index] = byte(stamp, index)
            index &+= 1
        }
        return bytes
    }

    @inline(__always)
    private static func byte(_ stamp: UInt64, _ index: Int) -> UInt8 {
        stamp == 0
            ? 0
            : UInt8(truncatingIfNeeded: stamp &>> (8 &* UInt64(index & 7)))
                ^ UInt8(truncatingIfNeeded: index &>> 3)
    }

    /// The stamp of a block's content; nil when it is no single write's. Looks at the ends and at
    /// every 37th byte.
    static func read(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        let stamp = bytes.prefix(8).enumerated().reduce(UInt64(0)) {
            $0 | UInt64($1.element) << (8 * UInt64($1.offset))
        }
        let first = bytes.startIndex
        for offset in stride(from: bytes.count - 1, through: 0, by: -37)
        where bytes[first + offset] != byte(stamp, offset) {
            return nil
        }
        return stamp
    }
}
