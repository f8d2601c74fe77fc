internal import Synchronization

/// Sixty-four bytes as eight words: a submission queue entry.
public struct CacheLine: BitwiseCopyable, Equatable, Sendable {
    public var word0, word1, word2, word3, word4, word5, word6, word7: UInt64

    public init(
        _ word0: UInt64 = 0, _ word1: UInt64 = 0, _ word2: UInt64 = 0, _ word3: UInt64 = 0,
        _ word4: UInt64 = 0, _ word5: UInt64 = 0, _ word6: UInt64 = 0, _ word7: UInt64 = 0
    ) {
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
        self.word4 = word4
        self.word5 = word5
        self.word6 = word6
        self.word7 = word7
    }
}

extension SharedBytes {
    /// Copies a line out, each of its words read once and by one instruction: what another party
    /// writes meanwhile cannot be seen twice. Aligned to 8.
    public func loadLine(at offset: Int) -> CacheLine {
        precondition(offset >= 0 && offset <= byteCount &- 64)
        precondition((address &+ UInt(bitPattern: offset)) & 7 == 0, "unaligned")
        let words = unsafe (segment.pointer + offset).assumingMemoryBound(
            to: Atomic<UInt64>.self)
        return unsafe CacheLine(
            words[0].load(ordering: .relaxed), words[1].load(ordering: .relaxed),
            words[2].load(ordering: .relaxed), words[3].load(ordering: .relaxed),
            words[4].load(ordering: .relaxed), words[5].load(ordering: .relaxed),
            words[6].load(ordering: .relaxed), words[7].load(ordering: .relaxed))
    }
}

extension HostSegment {
    /// The word at `offset`, read once; aligned to 8 within the segment.
    public func loadWord(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= byteCount &- 8)
        let place = unsafe pointer + offset
        if UInt(bitPattern: place) & 7 == 0 {
            return unsafe place.assumingMemoryBound(to: Atomic<UInt64>.self)
                .pointee.load(ordering: .relaxed)
        }
        var word: UInt64 = 0
        for index in 0..<8 {
            let byte = unsafe (place + index).assumingMemoryBound(to: Atomic<UInt8>.self)
                .pointee.load(ordering: .relaxed)
            word |= UInt64(byte) << (8 * UInt64(index))
        }
        return word
    }
}
