internal import Bounded
internal import Memory

/// Room for the segments of the requests under way: a short run for each slot, and a few long runs
/// for the requests that need one.
struct SegmentRoom: ~Copyable {
    /// Enough for a header, a status and six pieces of data.
    private static let shortLength = 8
    private static let longRuns = 16

    private let arena: SegmentArena
    let space: SegmentSpace
    let longLength: Int
    private let slotCount: Int
    private var freeLong: SlotPool

    init(slotCount: Int, segmentLimit: Int) {
        self.slotCount = slotCount
        longLength = max(64, segmentLimit + 2)
        freeLong = SlotPool(capacity: Self.longRuns)
        arena = SegmentArena(capacity: slotCount * Self.shortLength + Self.longRuns * longLength)
        space = arena.space
    }

    @inline(__always)
    func shortRun(of slot: UInt32) -> SegmentRun {
        SegmentRun(arena: space, start: Int(slot) &* Self.shortLength, limit: Self.shortLength)
    }

    func longRun(_ number: UInt32) -> SegmentRun {
        SegmentRun(
            arena: space, start: slotCount &* Self.shortLength &+ Int(number) &* longLength,
            limit: longLength)
    }

    /// A long run; nil when all are in use.
    mutating func takeLong() -> UInt32? { freeLong.take() }
    mutating func giveBackLong(_ number: UInt32) { freeLong.giveBack(number) }
}
