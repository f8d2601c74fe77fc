internal import Bounded

/// The ring descriptors of one chain of a packed queue, as they were read.
struct RingCopy: ~Copyable {
    struct Words: BitwiseCopyable {
        let low: UInt64
        let high: UInt64
    }

    private var words: BoundedArray<Words>

    init(capacity: Int) { words = BoundedArray(capacity: capacity) }

    var count: Int { words.count }

    subscript(index: Int) -> (low: UInt64, high: UInt64) { (words[index].low, words[index].high) }

    /// The caller has made sure that there is room.
    mutating func append(_ low: UInt64, _ high: UInt64) {
        words.append(Words(low: low, high: high))
    }

    mutating func removeAll() { words.removeAll() }
}
