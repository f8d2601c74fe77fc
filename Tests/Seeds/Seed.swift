internal import Platform

/// A reproducible source of random numbers (SplitMix64). Tests print it; `SOFTSNAP_SEED=n` in the
/// environment runs them with that seed alone.
public struct Seed: RandomNumberGenerator, CustomStringConvertible, Sendable {
    public let start: UInt64
    private var state: UInt64

    public init(_ start: UInt64) {
        self.start = start
        state = start
    }

    /// `count` fresh seeds, or the one to replay.
    public static func sample(_ count: Int) -> [Seed] {
        if let replayed = ProcessFacts.environment("SOFTSNAP_SEED").flatMap(UInt64.init) {
            return [Seed(replayed)]
        }
        return (0..<count).map { _ in Seed(UInt64.random(in: 0 ... .max)) }
    }

    public var description: String { "seed \(start)" }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension Seed {
    /// True once in `count` times.
    public mutating func oneIn(_ count: Int) -> Bool {
        Int.random(in: 0..<count, using: &self) == 0
    }

    public mutating func pick(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &self)
    }
}
