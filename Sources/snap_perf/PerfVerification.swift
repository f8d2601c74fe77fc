internal import Memory
internal import Platform
internal import VirtioDriver

/// Writes a pattern that names its own place, reads it back and compares every byte.
struct PerfVerification {
    private let session: PerfSession
    private let pattern: PerfPattern
    private var byteCount: Int { pattern.byteCount }

    init(_ session: PerfSession, _ pattern: PerfPattern) {
        self.session = session
        self.pattern = pattern
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
                if type == 1 { pattern.fill(data, place) } else { data.fill(with: 0) }
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
        var wait = AnswerWait()
        while left > 0 {
            guard let answer = ring.queue.reap() else {
                try wait.unanswered(left, at: .now())
                continue
            }
            wait.answered(at: .now())
            left -= 1
            let place = places[answer.slot]
            guard answer.status == 0 else {
                throw PerfError("request at place \(place) failed with status \(answer.status)")
            }
            if type == 0 { try pattern.check(ring.queue.data(of: answer.slot), place) }
        }
    }
}
