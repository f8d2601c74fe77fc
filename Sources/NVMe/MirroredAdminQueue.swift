internal import Bounded
internal import CWire
public import Memory
public import Platform

/// The admin queue of a host that is reached by transfers only: `AdminQueue` for the other data
/// path, with the same owner. Its rings are `MirroredRings`.
///
/// Data of a command moves in turns of its own: `read` and `write` begin it, `end(ofData:)` says
/// what has become of it. Data for the driver stands in its memory when `write` has ended, so the
/// order of stores that `OutcomeRecord` states holds here too: an outcome is recorded after that,
/// and its completion written after the record.
///
/// A command may stay open for ever, as in `AdminQueue`. Confined to one thread.
public final class MirroredAdminQueue {
    private let rings: MirroredRings
    public let counters: QueueCounters
    /// Marks up to here counted when the queue was taken over.
    private let settled: UInt64
    private var moves: [UInt32: Move] = [:]
    private var turn = QueueCounters.Reading()

    /// How far a command's data has come.
    private enum Move {
        case reading
        /// Waits for chunks, then for room among the transfers.
        case placing([UInt8])
        case placed(byteCount: Int)
        case writing
        case ended(AdminData)
    }

    /// - Parameters:
    ///   - memory: where the rings lie; rings that are not there park the queue.
    ///   - journal: of the function; a journal that is in use is taken over.
    ///   - transferByteLimit: most data of one command.
    public init(
        submission: SubmissionQueueSetup, completion: CompletionQueueSetup, memory: RemoteMemory,
        journal: NVMeMemory, link: MirrorLink, transferByteLimit: Int, counters: QueueCounters
    ) throws(QueueFault) {
        guard submission.id == 0, completion.id == 0 else { throw .badIdentifier }
        rings = try MirroredRings(
            completion, memory: memory, journal: journal, link: link,
            transferByteLimit: transferByteLimit, answerLimit: 1)
        self.counters = counters
        settled = journal.settledMark
        do throws(QueueFault) { try rings.add(submission, isNew: false) } catch {
            rings.close()
            throw error
        }
    }

    /// The staging memory is free when nothing is under way any more.
    public func close() { rings.close() }

    /// Whose transfers they are.
    public var client: any TransferClient { rings }

    // --- state ---

    public var phase: IOQueue.Phase { rings.phase }
    /// Commands taken and not yet answered.
    public var outstanding: Int { rings.outstanding }
    /// Whether host memory can no longer be reached: not a fault of the driver.
    public var isLost: Bool { rings.isLost }
    public var isParked: Bool { rings.isParked }
    public var canSend: Bool { rings.canSend }
    /// Whether a turn has something to do.
    public var hasNews: Bool { rings.hasNews || canHandOut && !rings.fresh.isEmpty }
    /// What is decided of a command is written after the command, whose journal may be far.
    private var canHandOut: Bool { isServing && !isParked && rings.journalsUnderWay == 0 }
    /// Whether nothing but a doorbell, or its owner, has it do something.
    public var isAsleep: Bool { rings.underWay == 0 && !hasNews }
    private var isServing: Bool { rings.stage == .open && phase.answers }

    /// Whether nothing of ours is under way in a queue that was stopped. Commands may be open: they
    /// are the owner's, or a successor's.
    public var isQuiet: Bool {
        guard rings.underWay == 0 else { return false }
        if isLost || !phase.answers { return true }
        guard phase == .draining, rings.batch.isEmpty else { return false }
        return isParked || rings.stage == .open && rings.finished.isEmpty
    }

    /// As those of `AdminQueue`.
    public func drain() { rings.drain() }
    public func resume() { rings.resume() }
    public func discard() { rings.discard() }
    /// A doorbell on another machine may have been rung.
    public func kick() { rings.isKicked = true }
    /// Interrupts the driver although nothing may have happened. A stopped queue does it later.
    public func interruptAnyway() { rings.owesInterrupt = true }

    /// The host's memory table has changed.
    /// - Precondition: the queue is quiet.
    public func exchange(memory: RemoteMemory) { rings.exchange(memory: memory) }

    // --- one turn ---

    /// Does one turn; `next` hands out what was taken.
    /// - Returns: ends taken and commands answered; 0 means idle.
    public func poll(now: Ticks) -> Int {
        let news = rings.news
        rings.begin()
        if isServing { goOn() }
        rings.end()
        if isLost, isQuiet { rings.giveBackAllChunks() }
        let done = Int(turn.received &+ turn.completed)
        if done > 0 {
            counters.add(turn)
            turn = QueueCounters.Reading()
        }
        return news &+ done
    }

    /// As `AdminQueue.next`.
    public func next() -> AdminCommand? {
        while canHandOut, let slot = rings.fresh.first {
            if isToBeReopened(slot) {
                rings.journal.reopen(slot)
                rings.carryReopened(slot)
                return nil
            }
            _ = rings.fresh.pop()
            turn.received &+= 1
            turn.others &+= 1
            let step = rings.journal.adminStep(
                slot, isAgain: rings.slots[Int(slot)].isAgain, settled: settled,
                in: rings.journalMemory)
            switch step {
            case .carryOut(let command): return command
            case .answer(let status, let result): complete(Int(slot), status, result: result)
            }
        }
        return nil
    }

    /// Whether a far journal says of a predecessor's command what was decided and never settled.
    private func isToBeReopened(_ slot: UInt32) -> Bool {
        rings.isFar && rings.slots[Int(slot)].isAgain && rings.journal.isDecided(slot)
            && rings.journal.outcome(slot, settled: settled) == nil && rings.batch.room > 0
    }

    /// Has the end of a command written. What a lost or discarded queue is told is nobody's.
    public func complete(_ slot: Int, _ status: NVMeStatus, result: UInt32 = 0) {
        let number = UInt32(slot)
        moves[number] = nil
        guard isServing else { return }
        precondition(rings.freeSlots.isTaken(number), "the command is not open")
        turn.completed &+= 1
        if status != .success { turn.errors &+= 1 }
        rings.answer(number, status, result: result)
    }

    // --- data ---

    /// Begins to fetch a command's data, once.
    public func read(_ slot: Int, byteCount: Int) {
        begin(slot, byteCount: byteCount, .reading)
    }

    /// Begins to put a command's data where its PRP entries say.
    public func write(_ slot: Int, _ data: [UInt8]) {
        begin(slot, byteCount: data.count, .placing(data))
    }

    private func begin(_ slot: Int, byteCount: Int, _ move: Move) {
        let number = UInt32(slot)
        guard isServing else { return }
        precondition(rings.freeSlots.isTaken(number), "the command is not open")
        if byteCount == 0 {
            moves[number] = .ended(.moved([]))
        } else if Command(rings.journal.line(number)).dataPointerKind != NVME_PSDT_PRP
            || byteCount > rings.transferByteLimit
        {
            // Over PCIe an admin command has no SGL (Base §4.1.2).
            moves[number] = .ended(.refused(.invalidField))
        } else {
            moves[number] = move
            if case .placing = move {
                rings.move(number, byteCount: byteCount, toHost: true)
            } else {
                rings.move(number, byteCount: byteCount, toHost: false)
            }
        }
    }

    /// What has become of a command's data; nil while it is under way.
    public func end(ofData slot: Int) -> AdminData? {
        guard isServing, let move = moves[UInt32(slot)] else { return .lost }
        if case .ended(let end) = move { return end }
        return nil
    }

    private func goOn() {
        while let number = rings.prepared.pop() {
            let slot = rings.slots[Int(number)]
            if slot.step == .refused {
                moves[number] = .ended(.refused(slot.status))
                continue
            }
            switch moves[number] {
            case .reading: moves[number] = .ended(.moved(bytes(of: number)))
            case .placing(let data):
                place(data, number)
                moves[number] = .placed(byteCount: data.count)
            case .writing: moves[number] = .ended(.moved([]))
            case .placed, .ended, nil: break
            }
        }
        for (number, move) in moves {
            if case .placed(let byteCount) = move { send(number, byteCount: byteCount) }
        }
    }

    private func send(_ number: UInt32, byteCount: Int) {
        let slot = rings.slots[Int(number)]
        guard rings.batch.room > slot.run.count &+ slot.chunkCount &+ 4 else { return }
        moves[number] = .writing
        rings.slots[Int(number)].pendingReads = rings.transfer(
            .write, MirrorTag(.payload, number), number, byteCount: byteCount)
    }

    private func bytes(of number: UInt32) -> [UInt8] {
        let slot = rings.slots[Int(number)]
        var bytes: [UInt8] = []
        for index in 0..<slot.chunkCount {
            let size = min(slot.byteCount - bytes.count, StagingArea.chunkByteCount)
            let chunk = rings.staging.segment(ofChunk: rings.chunk(number, index))
            bytes += chunk.part(at: 0, byteCount: size).bytes()
        }
        return bytes
    }

    private func place(_ data: [UInt8], _ number: UInt32) {
        var start = 0
        for index in 0..<rings.slots[Int(number)].chunkCount {
            let size = min(data.count - start, StagingArea.chunkByteCount)
            let chunk = rings.staging.segment(ofChunk: rings.chunk(number, index))
            chunk.part(at: 0, byteCount: size).store(bytes: Array(data[start..<start + size]))
            start += size
        }
    }
}
