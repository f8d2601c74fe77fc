/// A reproducible source of random numbers (SplitMix64). The tests print it when they fail.
struct Seed: RandomNumberGenerator, CustomStringConvertible, Sendable {
    let start: UInt64
    private var state: UInt64

    init(_ start: UInt64) {
        self.start = start
        state = start
    }

    /// `count` seeds: fresh ones on every run, each printed by the test it is given to.
    static func sample(_ count: Int) -> [Seed] {
        (0..<count).map { _ in Seed(UInt64.random(in: 0 ... .max)) }
    }

    var description: String { "seed \(start)" }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
