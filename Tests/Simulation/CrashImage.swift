import Memory
import Platform
import Seeds

/// What ring and in-flight area held in the middle of a device's turn, and the points between there
/// and its end where a service may die (vhost-user.rst, "Inflight I/O tracking").
struct CrashImage {
    private let log: [UInt8]
    private let usedIndex: UInt16
    private let descriptors: [UInt8]
    private let shape: SimulatedDriver.Shape

    init(_ space: HostSpace, _ area: Mapping, _ shape: SimulatedDriver.Shape) {
        self.shape = shape
        log = area.bytes.segment.bytes()
        usedIndex = CrashImage.usedArea(space).loadAcquire16(at: 2)
        descriptors = space.rings(at: 0, byteCount: 16 * shape.size).segment.bytes()
    }

    private static func usedArea(_ space: HostSpace) -> SharedBytes {
        space.rings(at: SimulatedDriver.deviceOffset, byteCount: 4)
    }

    private func old16(_ offset: Int) -> UInt16 {
        UInt16(log[offset]) | UInt16(log[offset + 1]) << 8
    }

    /// Puts memory back to one of those points.
    /// - Returns: whether it did.
    func goBack(_ space: HostSpace, _ area: Mapping, using random: inout Seed) -> Bool {
        shape.isPacked
            ? goBackPacked(space, area.bytes, using: &random)
            : goBackSplit(space, area.bytes, using: &random)
    }

    // --- split: one batch for each turn ---

    private func goBackSplit(
        _ space: HostSpace, _ area: SharedBytes, using random: inout Seed
    ) -> Bool {
        let used = CrashImage.usedArea(space)
        let batch = lastBatch(area, count: Int(used.loadAcquire16(at: 2) &- usedIndex))
        for head in 0..<shape.size { area.store(log[16 + 16 * head], at: 16 + 16 * head) }
        area.storeRelease16(usedIndex, at: 14)
        switch random.pick(0...2) {
        // Used elements are written, the index is not.
        case 0: used.storeRelease16(usedIndex, at: 2)
        // The index is there, no head is cleared.
        case 1: break
        // Some heads are cleared, the log's index is the old one.
        default:
            for head in batch.prefix(random.pick(0...batch.count)) {
                area.store(UInt8(0), at: 16 + 16 * head)
            }
        }
        return true
    }

    /// Heads of the latest batch, in the order of their end.
    private func lastBatch(_ area: SharedBytes, count: Int) -> [Int] {
        var heads: [Int] = []
        var head = Int(area.load(UInt16.self, at: 12))
        for _ in 0..<count where head < shape.size {
            heads.append(head)
            head = Int(area.load(UInt16.self, at: 16 + 16 * head + 6))
        }
        return heads.reversed()
    }

    // --- packed: each answer is a step of its own ---

    private func goBackPacked(
        _ space: HostSpace, _ area: SharedBytes, using random: inout Seed
    ) -> Bool {
        let marks = (0..<shape.size).map { 32 + 32 * $0 }
        let cleared = marks.filter { log[$0] == 1 && area.loadAcquire8(at: $0) == 0 }
        // The points of the last step are known when it was the only one.
        guard cleared.count == 1, let mark = cleared.first else { return false }
        let point = random.pick(0...4)
        // The new wrap counter counts, the old one is still there.
        area.store(log[21], at: 21)
        if point < 4 { area.store(old16(18), at: 18) }
        if point < 3 { area.store(old16(14), at: 14) }
        if point < 2 { area.store(UInt8(1), at: mark) }
        if point < 1 {
            // The used descriptor is not there yet.
            let place = 16 * Int(old16(18))
            space.rings(at: place, byteCount: 16).segment.store(
                bytes: Array(descriptors[place..<place + 16]))
        }
        return true
    }
}
