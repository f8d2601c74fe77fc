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
        var latency = LatencyRecord()

        var requestsPerSecond: Double {
            Double(requests) * 1e9 / Double(max(1, nanoseconds))
        }
    }

    private let session: PerfSession
    private let options: Options
    private var places: PerfPlaces

    init(_ session: PerfSession, _ options: Options) throws {
        self.session = session
        self.options = options
        places = try PerfPlaces(
            options, blockByteCount: session.disk.blockByteCount, unitByteCount: 512,
            unitCount: session.disk.sectorCount)
    }

    mutating func run() throws -> Outcome {
        var outcome = Outcome()
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
                answered += reap(ring, now: now, again: !isOver, &outcome)
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
        return outcome
    }

    private mutating func reap(
        _ ring: PerfRing, now: Ticks, again: Bool, _ outcome: inout Outcome
    ) -> Int {
        var answered = 0
        while let answer = ring.queue.reap() {
            answered += 1
            outcome.requests += 1
            if answer.status != 0 { outcome.errors += 1 }
            outcome.latency.record(ticks: now.since(ring.started[answer.slot]))
            if again { submit(answer.slot, on: ring, now: now) }
        }
        if answered > 0 && again { publish(ring) }
        return answered
    }

    private mutating func submit(_ slot: Int, on ring: PerfRing, now: Ticks) {
        ring.started[slot] = now
        ring.queue.submit(
            slot: slot, type: places.nextIsWrite() ? 1 : 0, sector: places.next(),
            byteCount: options.byteCount)
    }

    private func publish(_ ring: PerfRing) {
        if ring.queue.publish() { ring.ring() }
    }
}

struct PerfError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
