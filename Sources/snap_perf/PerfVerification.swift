internal import Memory
internal import Platform
internal import VirtioDriver

/// Writes a pattern that names its own place, reads it back and compares every byte.
struct PerfVerification {
    private let session: PerfSession
    private let byteCount: Int
    private let seed: UInt64

    init(_ session: PerfSession, byteCount: Int, seed: UInt64) {
        self.session = session
        self.byteCount = byteCount
        self.seed = seed
    }

    /// Verifies the first `requestCount` places, or as many as the disk has.
    /// - Returns: bytes compared.
    func run(requestCount: Int) throws -> Int {
        let sectors = UInt64(byteCount / 512)
        let count = min(UInt64(requestCount), session.disk.sectorCount / sectors)
        for type in [UInt32(1), 0] {
            var place: UInt64 = 0
            while place < count {
                let taken = try batch(type, from: place, count: count, sectors: sectors)
                place += taken
            }
        }
        return Int(count) * byteCount
    }

    /// Fills every slot of every queue once.
    private func batch(
        _ type: UInt32, from start: UInt64, count: UInt64, sectors: UInt64
    ) throws -> UInt64 {
        var place = start
        for ring in session.rings {
            var submitted: [UInt64] = []
            for slot in 0..<ring.queue.layout.slotCount where place < count {
                let data = ring.queue.data(of: slot)
                if type == 1 { fill(data, place) } else { data.fill(with: 0) }
                ring.queue.submit(
                    slot: slot, type: type, sector: place * sectors, byteCount: byteCount)
                submitted.append(place)
                place += 1
            }
            if ring.queue.publish() { ring.ring() }
            try collect(ring, submitted, type)
        }
        return place - start
    }

    private func collect(_ ring: PerfRing, _ places: [UInt64], _ type: UInt32) throws {
        var left = places.count
        let deadline = Clock.monotonicNanoseconds() + 30_000_000_000
        while left > 0 {
            guard let answer = ring.queue.reap() else {
                if Clock.monotonicNanoseconds() > deadline {
                    throw PerfError("no answer for 30 seconds")
                }
                continue
            }
            left -= 1
            let place = places[answer.slot]
            guard answer.status == 0 else {
                throw PerfError("request at place \(place) failed with status \(answer.status)")
            }
            if type == 0 { try compare(ring.queue.data(of: answer.slot), place) }
        }
    }

    private func word(_ place: UInt64, _ offset: Int) -> UInt64 {
        (place &* 0x9E37_79B9_7F4A_7C15) ^ seed &+ UInt64(offset) &* 0xBF58_476D_1CE4_E5B9
    }

    private func fill(_ data: HostSegment, _ place: UInt64) {
        for offset in stride(from: 0, to: byteCount, by: 8) {
            data.store(word(place, offset), at: offset)
        }
    }

    private func compare(_ data: HostSegment, _ place: UInt64) throws {
        for offset in stride(from: 0, to: byteCount, by: 8) {
            let found = data.load(UInt64.self, at: offset)
            if found != word(place, offset) {
                throw PerfError(
                    "wrong data at place \(place), offset \(offset): \(String(found, radix: 16))")
            }
        }
    }
}
