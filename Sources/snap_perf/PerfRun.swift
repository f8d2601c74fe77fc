internal import Histogram
internal import Memory
internal import Platform
internal import VirtioDriver

/// A polling driver: keeps a number of requests under way on every queue for a time, and counts.
struct PerfRun {
    enum Pattern: String, CaseIterable {
        case read
        case write
        /// Two thirds reads, one third writes.
        case mix
    }

    struct Options {
        var pattern = Pattern.read
        var byteCount = 4096
        var isRandom = true
        var seconds = 2.0
        var seed: UInt64 = 1
    }

    struct Outcome {
        var requests: UInt64 = 0
        var errors: UInt64 = 0
        var nanoseconds: UInt64 = 0
        var processorNanoseconds: UInt64 = 0
        var latency: Histogram<UInt64>

        var requestsPerSecond: Double {
            Double(requests) * 1e9 / Double(max(1, nanoseconds))
        }
    }

    private let session: PerfSession
    private let options: Options
    private var random: UInt64
    private var nextBlock: UInt64 = 0
    private let blocks: UInt64
    private let sectorsPerRequest: UInt64

    init(_ session: PerfSession, _ options: Options) throws {
        self.session = session
        self.options = options
        random = options.seed | 1
        sectorsPerRequest = UInt64(options.byteCount / 512)
        blocks = session.disk.sectorCount / max(1, sectorsPerRequest)
        guard options.byteCount % session.disk.blockByteCount == 0, blocks > 0 else {
            throw PerfError(
                "requests of \(options.byteCount) bytes do not fit a disk of "
                    + "\(session.disk.sectorCount) sectors in blocks of "
                    + "\(session.disk.blockByteCount)")
        }
    }

    mutating func run() throws -> Outcome {
        var outcome = Outcome(
            latency: Histogram(
                highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .two))
        var recorded = [UInt32](repeating: 0, count: Self.coarseLimit)
        let processorStart = Clock.threadNanoseconds()
        let start = Ticks.now()
        let end = start.advanced(by: Ticks.from(nanoseconds: UInt64(options.seconds * 1e9)))
        for ring in session.rings {
            for slot in 0..<ring.queue.layout.slotCount { submit(slot, on: ring, now: start) }
            publish(ring)
        }
        var underWay = session.rings.reduce(0) { $0 + $1.queue.layout.slotCount }
        var lastAnswer = start
        while underWay > 0 {
            let now = Ticks.now()
            let isOver = now >= end
            var answered = 0
            for ring in session.rings {
                answered += reap(ring, now: now, again: !isOver, &outcome, &recorded)
            }
            if isOver { underWay -= answered }
            if answered > 0 {
                lastAnswer = now
            } else if Ticks.nanoseconds(from: now.since(lastAnswer)) > 30_000_000_000 {
                throw PerfError("no answer for 30 seconds with \(underWay) requests under way")
            }
        }
        outcome.nanoseconds = Ticks.nanoseconds(from: Ticks.now().since(start))
        outcome.processorNanoseconds = Clock.threadNanoseconds() - processorStart
        for (ticks, count) in recorded.enumerated() where count > 0 {
            outcome.latency.record(
                Ticks.nanoseconds(from: UInt64(ticks) << Self.coarseShift), count: UInt64(count))
        }
        return outcome
    }

    // Short latencies go to an array indexed by ticks: a store instead of a logarithm.
    private static let coarseShift: UInt64 = 4
    private static let coarseLimit = 1 << 16

    private mutating func reap(
        _ ring: PerfRing, now: Ticks, again: Bool, _ outcome: inout Outcome,
        _ recorded: inout [UInt32]
    ) -> Int {
        var answered = 0
        while let answer = ring.queue.reap() {
            answered += 1
            outcome.requests += 1
            if answer.status != 0 { outcome.errors += 1 }
            let ticks = now.since(ring.started[answer.slot])
            let coarse = Int(ticks >> Self.coarseShift)
            if coarse < Self.coarseLimit {
                recorded[coarse] &+= 1
            } else {
                outcome.latency.record(Ticks.nanoseconds(from: ticks))
            }
            if again { submit(answer.slot, on: ring, now: now) }
        }
        if answered > 0 && again { publish(ring) }
        return answered
    }

    private mutating func submit(_ slot: Int, on ring: PerfRing, now: Ticks) {
        ring.started[slot] = now
        ring.queue.submit(
            slot: slot, type: nextType(), sector: nextSector(), byteCount: options.byteCount)
    }

    private func publish(_ ring: PerfRing) {
        if ring.queue.publish() { ring.ring() }
    }

    private mutating func nextType() -> UInt32 {
        switch options.pattern {
        case .read: 0
        case .write: 1
        case .mix: next() % 3 == 0 ? 1 : 0
        }
    }

    private mutating func nextSector() -> UInt64 {
        if options.isRandom {
            // The high half of a product scales without a division.
            return next().multipliedFullWidth(by: blocks).high &* sectorsPerRequest
        }
        nextBlock = nextBlock &+ 1 == blocks ? 0 : nextBlock &+ 1
        return nextBlock &* sectorsPerRequest
    }

    /// xorshift64*.
    private mutating func next() -> UInt64 {
        random ^= random >> 12
        random ^= random << 25
        random ^= random >> 27
        return random &* 0x2545_F491_4F6C_DD1D
    }
}

struct PerfError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
