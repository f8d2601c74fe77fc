internal import Memory
internal import NVMeDriver
internal import Platform

/// Writes a pattern that names its own place, reads it back and compares every byte.
struct NVMePerfVerification {
    let session: NVMePerfSession
    let pattern: PerfPattern

    /// Verifies the first `requestCount` places, or as many as the namespace has.
    /// - Returns: bytes compared.
    func run(requestCount: Int) throws -> Int {
        let blocks = UInt64(pattern.byteCount / session.namespace.blockByteCount)
        let count = min(UInt64(requestCount), session.namespace.blockCount / blocks)
        for isWrite in [true, false] {
            var place: UInt64 = 0
            while place < count {
                for queue in session.queues where place < count {
                    let places = place..<min(count, place + UInt64(queue.started.count))
                    try batch(queue, places, blocks, isWrite: isWrite)
                    place = places.upperBound
                }
            }
        }
        return Int(count) * pattern.byteCount
    }

    /// Fills slots of a queue once.
    private func batch(
        _ queue: NVMePerfQueue, _ places: Range<UInt64>, _ blocks: UInt64, isWrite: Bool
    ) throws {
        for (slot, place) in places.enumerated() {
            let data = queue.queue.data(of: slot)
            if isWrite { pattern.fill(data, place) } else { data.fill(with: 0) }
            queue.submit(slot, isWrite: isWrite, block: place * blocks)
        }
        queue.queue.publish()
        var wait = AnswerWait()
        while queue.queue.outstanding > 0 {
            guard let answer = queue.queue.poll() else {
                try wait.unanswered(queue.queue.outstanding, at: .now())
                continue
            }
            wait.answered(at: .now())
            guard answer.isKnown, answer.status.isSuccess else {
                throw PerfError("slot \(answer.slot) was answered with \(answer.status)")
            }
            if !isWrite {
                try pattern.check(
                    queue.queue.data(of: answer.slot), places.lowerBound + UInt64(answer.slot))
            }
        }
    }
}
