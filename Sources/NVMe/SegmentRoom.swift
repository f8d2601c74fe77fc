internal import Bounded
internal import Memory

/// Consecutive places of an arena for the segments of one command.
struct SegmentRun: BitwiseCopyable {
    let arena: SegmentSpace
    let start: Int
    let limit: Int
}

/// Room for the segments of the commands under way: a short run for each slot, and a few long runs
/// for the commands that need one.
struct SegmentRoom: ~Copyable {
    private static let shortLength = 8
    private static let longRuns = 16
    static let noLongRun = UInt16.max

    private let arena: SegmentArena
    private let space: SegmentSpace
    private let longLength: Int
    private let slotCount: Int
    private var freeLong: SlotPool

    init(slotCount: Int, transferByteLimit: Int) {
        self.slotCount = slotCount
        // Its pages, one more for the offset of the first, and some that regions divide.
        longLength = transferByteLimit / QueueShape.pageByteCount + 17
        freeLong = SlotPool(capacity: Self.longRuns)
        arena = SegmentArena(
            capacity: slotCount * Self.shortLength + Self.longRuns * longLength + 1)
        space = arena.space
    }

    @inline(__always)
    func shortRun(of slot: UInt32) -> SegmentRun {
        SegmentRun(arena: space, start: Int(slot) &* Self.shortLength, limit: Self.shortLength)
    }

    func longRun(_ number: UInt16) -> SegmentRun {
        SegmentRun(
            arena: space, start: slotCount &* Self.shortLength &+ Int(number) &* longLength,
            limit: longLength)
    }

    /// A list of one segment of the staging area; there is one at a time.
    func staged(_ segment: HostSegment) -> SegmentList {
        space[space.capacity &- 1] = segment
        return space.list(at: space.capacity &- 1, count: 1)
    }

    var hasLong: Bool { freeLong.freeCount > 0 }

    /// A long run; nil when all are in use.
    mutating func takeLong() -> UInt16? {
        freeLong.take().map { UInt16(truncatingIfNeeded: $0) }
    }

    mutating func giveBackLong(_ number: UInt16) { freeLong.giveBack(UInt32(number)) }
}
