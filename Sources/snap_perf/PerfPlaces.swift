/// Where requests go, and whether they write: a sequence that its seed repeats.
struct PerfPlaces {
    private let pattern: PerfRun.Pattern
    private let isRandom: Bool
    private var random: UInt64
    private var nextPlace: UInt64 = 0
    private let placeCount: UInt64
    private let unitsPerRequest: UInt64

    /// - Parameters:
    ///   - unitByteCount: what `next` counts in.
    ///   - unitCount: of the disk.
    init(
        _ options: PerfRun.Options, blockByteCount: Int, unitByteCount: Int, unitCount: UInt64
    ) throws {
        pattern = options.pattern
        isRandom = options.isRandom
        random = options.seed | 1
        unitsPerRequest = UInt64(options.byteCount / unitByteCount)
        placeCount = unitCount / max(1, unitsPerRequest)
        guard options.byteCount % blockByteCount == 0, placeCount > 0 else {
            throw PerfError(
                "requests of \(options.byteCount) bytes do not fit a disk of "
                    + "\(unitCount) × \(unitByteCount) bytes in blocks of \(blockByteCount)")
        }
    }

    mutating func nextIsWrite() -> Bool {
        switch pattern {
        case .read: false
        case .write: true
        case .mix: draw() % 3 == 0
        }
    }

    /// The first unit of the next request.
    mutating func next() -> UInt64 {
        if isRandom {
            // The high half of a product scales without a division.
            return draw().multipliedFullWidth(by: placeCount).high &* unitsPerRequest
        }
        nextPlace = nextPlace &+ 1 == placeCount ? 0 : nextPlace &+ 1
        return nextPlace &* unitsPerRequest
    }

    /// xorshift64*.
    private mutating func draw() -> UInt64 {
        random ^= random >> 12
        random ^= random << 25
        random ^= random >> 27
        return random &* 0x2545_F491_4F6C_DD1D
    }
}
