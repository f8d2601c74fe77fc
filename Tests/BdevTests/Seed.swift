/// The source of a random test's choices: it prints as a number that replays the test.
struct Seed: CustomStringConvertible, Sendable {
    let value: UInt64

    var description: String { "seed \(value)" }

    /// `count` seeds: the fixed ones first found useful, then fresh ones.
    static func sample(_ count: Int) -> [Seed] {
        (0..<count).map { Seed(value: $0 < count / 2 ? UInt64($0) : UInt64.random(in: 0 ... .max)) }
    }

    var generator: SplitMix { SplitMix(state: value) }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
