/// What gives access to one function's host, and for how long: the keys of its present state, and
/// those of states that are over, which last until the service has acknowledged a later one. Until
/// then what it has under way may need them; after it the host hears that access has ended.
///
/// A queue that runs has keys, and nothing else has: a reset ends them even when the memory stays,
/// and the next start makes new ones.
struct FunctionKeys<Keys> {
    private(set) var current: Keys?
    /// With the generation of the first state that did without them.
    private var former: [(keys: Keys, generation: UInt64)] = []

    var isEmpty: Bool { current == nil && former.isEmpty }

    /// From state `generation` on, the present keys are of no use.
    mutating func retire(at generation: UInt64) {
        guard let keys = current else { return }
        former.append((keys, generation))
        current = nil
    }

    /// State `generation` has these keys, and no others.
    mutating func use(_ keys: Keys, at generation: UInt64) {
        retire(at: generation)
        current = keys
    }

    /// Everything up to state `generation` has been carried out: the keys end that it, or a state
    /// before it, did without.
    mutating func settle(_ generation: UInt64) {
        former.removeAll { $0.generation <= generation }
    }
}
