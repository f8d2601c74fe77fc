internal import Memory

/// Data that names its own place: every eight bytes follow from place, offset and seed.
struct PerfPattern {
    let byteCount: Int
    let seed: UInt64

    private func word(_ place: UInt64, _ offset: Int) -> UInt64 {
        (place &* 0x9E37_79B9_7F4A_7C15) ^ seed &+ UInt64(offset) &* 0xBF58_476D_1CE4_E5B9
    }

    func fill(_ data: HostSegment, _ place: UInt64) {
        for offset in stride(from: 0, to: byteCount, by: 8) {
            data.store(word(place, offset), at: offset)
        }
    }

    func check(_ data: HostSegment, _ place: UInt64) throws {
        for offset in stride(from: 0, to: byteCount, by: 8) {
            let found = data.load(UInt64.self, at: offset)
            if found != word(place, offset) {
                throw PerfError(
                    "wrong data at place \(place), offset \(offset): \(String(found, radix: 16))")
            }
        }
    }
}
