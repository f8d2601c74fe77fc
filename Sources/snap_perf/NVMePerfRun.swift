internal import NVMeDriver
internal import Platform

/// A polling NVMe driver: keeps a number of commands under way on every queue of every controller
/// for a time, and counts.
struct NVMePerfRun {
    private let queues: [NVMePerfQueue]
    private let options: PerfRun.Options
    private let blocksPerRequest: UInt64
    private var places: PerfPlaces
    private var check: PerfCheck?

    init(_ sessions: [NVMePerfSession], _ options: PerfRun.Options) throws {
        queues = sessions.flatMap(\.queues)
        self.options = options
        guard let smallest = sessions.map(\.namespace).min(by: { $0.blockCount < $1.blockCount })
        else { throw PerfError("no controller") }
        places = try PerfPlaces(
            options, blockByteCount: smallest.blockByteCount,
            unitByteCount: smallest.blockByteCount, unitCount: smallest.blockCount)
        blocksPerRequest = UInt64(options.byteCount / smallest.blockByteCount)
        guard options.isChecked else { return }
        var slotCount = 0
        for queue in queues {
            queue.firstSlot = slotCount
            slotCount += queue.started.count
        }
        check = try PerfCheck(
            PerfPattern(byteCount: options.byteCount, seed: options.seed), slotCount: slotCount,
            placeCount: smallest.blockCount / blocksPerRequest)
    }

    mutating func run() throws -> PerfRun.Outcome {
        var outcome = PerfRun.Outcome()
        let processorStart = Clock.threadNanoseconds()
        let start = Ticks.now()
        let end = start.advanced(by: Ticks.from(nanoseconds: UInt64(options.seconds * 1e9)))
        var underWay = 0
        for queue in queues {
            for slot in queue.started.indices { submit(slot, on: queue, now: start) }
            queue.queue.publish()
            underWay += queue.started.count
        }
        let slotCount = underWay
        var isOver = false
        var wait = AnswerWait(from: start, shortestPause: options.shortestPause)
        while underWay > 0 || !isOver {
            let now = Ticks.now()
            isOver = now >= end || options.interruption?.isDue == true
            let isAhead = options.isAhead(
                outcome.requests + UInt64(underWay), from: start, at: now)
            if underWay < slotCount, !isOver, !isAhead {
                for queue in queues { resume(queue, now: now) }
                underWay = slotCount
            }
            var answered = 0
            for queue in queues {
                answered &+= try poll(queue, now: now, again: !isOver && !isAhead, &outcome)
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

    private mutating func poll(
        _ queue: NVMePerfQueue, now: Ticks, again: Bool, _ outcome: inout PerfRun.Outcome
    ) throws -> Int {
        var answered = 0
        while let answer = queue.queue.poll() {
            guard answer.isKnown else {
                throw PerfError("command \(answer.slot) was answered and not under way")
            }
            answered &+= 1
            if !answer.status.isSuccess { outcome.errors &+= 1 }
            if check != nil, answer.status.isSuccess {
                try check?.check(
                    queue.firstSlot + answer.slot, queue.queue.data(of: answer.slot))
            }
            outcome.latency.record(ticks: now.since(queue.started[answer.slot]))
            if again {
                submit(answer.slot, on: queue, now: now)
            } else {
                queue.idle.append(answer.slot)
            }
        }
        outcome.requests &+= UInt64(answered)
        if answered > 0 && again { queue.queue.publish() }
        if queue.queue.hasLostDevice { throw PerfError("the device is gone") }
        return answered
    }

    private mutating func resume(_ queue: NVMePerfQueue, now: Ticks) {
        for slot in queue.idle { submit(slot, on: queue, now: now) }
        queue.idle.removeAll(keepingCapacity: true)
        queue.queue.publish()
    }

    @inline(__always)
    private mutating func submit(_ slot: Int, on queue: NVMePerfQueue, now: Ticks) {
        queue.started[slot] = now
        if let next = check?.next(queue.firstSlot + slot, queue.queue.data(of: slot)) {
            return queue.submit(
                slot, isWrite: next.isWrite, block: next.place * blocksPerRequest)
        }
        queue.submit(slot, isWrite: places.nextIsWrite(), block: places.next())
    }
}
