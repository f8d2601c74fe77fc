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
        /// Requests per second; 0: as many as there can be.
        var rate = 0.0
        /// Ends it before.
        var interruption: Interruption?
        var seed: UInt64 = 1
        /// Writes and reads back what it has written, in the place of `pattern`.
        var isChecked = false
        /// Nanoseconds without an answer that count as a pause.
        var shortestPause = UInt64.max / 4

        /// Whether `count` requests are more than `rate` allows from `start` until `now`.
        func isAhead(_ count: UInt64, from start: Ticks, at now: Ticks) -> Bool {
            if rate == 0 { return false }
            let nanoseconds = Ticks.nanoseconds(from: now.since(start))
            return Double(count) * 1e9 > rate * Double(nanoseconds)
        }
    }

    struct Outcome {
        var requests: UInt64 = 0
        var errors: UInt64 = 0
        var nanoseconds: UInt64 = 0
        var processorNanoseconds: UInt64 = 0
        var latency = LatencyRecord()
        /// Nanoseconds each.
        var pauses: [UInt64] = []

        var requestsPerSecond: Double {
            Double(requests) * 1e9 / Double(max(1, nanoseconds))
        }
    }

    private let session: PerfSession
    private let options: Options
    private var places: PerfPlaces
    private var check: PerfCheck?

    init(_ session: PerfSession, _ options: Options) throws {
        self.session = session
        self.options = options
        places = try PerfPlaces(
            options, blockByteCount: session.disk.blockByteCount, unitByteCount: 512,
            unitCount: session.disk.sectorCount)
        guard options.isChecked else { return }
        check = try PerfCheck(
            PerfPattern(byteCount: options.byteCount, seed: options.seed),
            slotCount: session.rings.reduce(0) { $0 + $1.queue.layout.slotCount },
            placeCount: session.disk.sectorCount / UInt64(options.byteCount / 512))
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
        let slotCount = session.rings.reduce(0) { $0 + $1.queue.layout.slotCount }
        var underWay = slotCount
        var isOver = false
        var wait = AnswerWait(from: start, shortestPause: options.shortestPause)
        while underWay > 0 || !isOver {
            let now = Ticks.now()
            isOver = now >= end || options.interruption?.isDue == true
            let isAhead = options.isAhead(
                outcome.requests + UInt64(underWay), from: start, at: now)
            if underWay < slotCount, !isOver, !isAhead {
                for ring in session.rings { resume(ring, now: now) }
                underWay = slotCount
            }
            var answered = 0
            for ring in session.rings {
                answered += try reap(ring, now: now, again: !isOver && !isAhead, &outcome)
            }
            if isOver || isAhead { underWay -= answered }
            if answered > 0 {
                wait.answered(at: now)
            } else if underWay > 0 {
                try wait.unanswered(underWay, at: now)
            }
            if isAhead, !isOver { wait.rest(underWay) }
        }
        outcome.pauses = wait.pauses
        outcome.nanoseconds = Ticks.nanoseconds(from: Ticks.now().since(start))
        outcome.processorNanoseconds = Clock.threadNanoseconds() - processorStart
        return outcome
    }

    private mutating func reap(
        _ ring: PerfRing, now: Ticks, again: Bool, _ outcome: inout Outcome
    ) throws -> Int {
        var answered = 0
        while let answer = ring.queue.reap() {
            answered += 1
            outcome.requests += 1
            if answer.status != 0 { outcome.errors += 1 }
            if check != nil, answer.status == 0 {
                try check?.check(
                    ring.firstSlot + answer.slot, ring.queue.data(of: answer.slot))
            }
            outcome.latency.record(ticks: now.since(ring.started[answer.slot]))
            if again {
                submit(answer.slot, on: ring, now: now)
            } else {
                ring.idle.append(answer.slot)
            }
        }
        if answered > 0 && again { publish(ring) }
        return answered
    }

    private mutating func resume(_ ring: PerfRing, now: Ticks) {
        for slot in ring.idle { submit(slot, on: ring, now: now) }
        ring.idle.removeAll(keepingCapacity: true)
        publish(ring)
    }

    private mutating func submit(_ slot: Int, on ring: PerfRing, now: Ticks) {
        ring.started[slot] = now
        if let next = check?.next(ring.firstSlot + slot, ring.queue.data(of: slot)) {
            let sector = next.place * UInt64(options.byteCount / 512)
            return ring.queue.submit(
                slot: slot, type: next.isWrite ? 1 : 0, sector: sector,
                byteCount: options.byteCount)
        }
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
