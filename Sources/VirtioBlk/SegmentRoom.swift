internal import Bounded
internal import Memory

/// Room for the segments of the requests under way: a short run for each slot, and a few long runs
/// for the requests that need one.
struct SegmentRoom: ~Copyable {
    /// Enough for a header, a status and six pieces of data.
    static let shortLength = 8
    private static let longRuns = 16

    let arena: SegmentArena
    let longLength: Int
    private let slotCount: Int
    private var freeLong: SlotPool

    init(slotCount: Int, segmentLimit: Int) {
        self.slotCount = slotCount
        longLength = max(64, segmentLimit + 2)
        freeLong = SlotPool(capacity: Self.longRuns)
        arena = SegmentArena(
            capacity: slotCount * Self.shortLength + Self.longRuns * longLength)
    }

    func shortStart(_ slot: UInt32) -> Int { Int(slot) &* Self.shortLength }

    /// A long run; nil when all are in use.
    mutating func takeLong() -> UInt32? { freeLong.take() }
    mutating func giveBackLong(_ run: UInt32) { freeLong.giveBack(run) }

    func longStart(_ run: UInt32) -> Int {
        slotCount &* Self.shortLength &+ Int(run) &* longLength
    }
}
