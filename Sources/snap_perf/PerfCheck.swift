internal import Memory

/// A load that knows what it must read: each slot writes a pattern of its own at a place of its
/// own, reads it back, and goes on at the next of its places.
struct PerfCheck {
    private struct Step {
        /// Counts writes of the slot.
        var round: UInt64 = 0
        var isReading = true
    }

    private let pattern: PerfPattern
    /// Places of each slot.
    private let placesPerSlot: UInt64
    private var steps: [Step]

    /// - Parameters:
    ///   - slotCount: of all queues together.
    ///   - placeCount: requests that fit the disk.
    init(_ pattern: PerfPattern, slotCount: Int, placeCount: UInt64) throws {
        guard placeCount >= UInt64(slotCount) else {
            throw PerfError(
                "--check: \(slotCount) slots need as many places, and the disk has \(placeCount)")
        }
        self.pattern = pattern
        placesPerSlot = placeCount / UInt64(slotCount)
        steps = Array(repeating: Step(), count: slotCount)
    }

    private func place(_ slot: Int) -> UInt64 {
        UInt64(slot) * placesPerSlot + steps[slot].round % placesPerSlot
    }

    /// Prepares the slot's next request.
    mutating func next(_ slot: Int, _ data: HostSegment) -> (isWrite: Bool, place: UInt64) {
        steps[slot].isReading.toggle()
        if steps[slot].isReading {
            data.fill(with: 0)
        } else {
            steps[slot].round &+= 1
            written(slot).fill(data, place(slot))
        }
        return (!steps[slot].isReading, place(slot))
    }

    /// Compares what a slot's read has brought.
    func check(_ slot: Int, _ data: HostSegment) throws {
        if steps[slot].isReading { try written(slot).check(data, place(slot)) }
    }

    private func written(_ slot: Int) -> PerfPattern {
        PerfPattern(byteCount: pattern.byteCount, seed: pattern.seed &+ steps[slot].round << 20)
    }
}
