internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// Fused Compare and Write (Base §3.4.2, NVM §3.2): both or neither, and nothing of this queue in
/// between, because nothing else is under way meanwhile.
extension IOQueue {
    /// Takes a fused command, and the one that belongs to it.
    /// - Returns: commands taken; 0 when there is no room for two now.
    @inline(never)
    mutating func takeFused(
        _ command: Command, from index: Int, limit: Int
    ) throws(QueueFault) -> Int {
        guard command.fuse == NVME_FUSE_FIRST else {
            let status: NVMeStatus =
                command.fuse == NVME_FUSE_SECOND ? .missingFused : .invalidField
            refuse(accept(command, from: index), status)
            return 1
        }
        _ = try submissions[index].readTail()
        guard submissions[index].knownCount >= 2, freeSlots.capacity >= 2 else {
            refuse(accept(command, from: index), .missingFused)
            return 1
        }
        if limit < 2 { return 0 }
        let next = Command(submissions[index].entry(1))
        guard next.fuse == NVME_FUSE_SECOND else {
            refuse(accept(command, from: index), .missingFused)
            return 1
        }
        let pair = Stage.FusedPair(
            first: accept(command, from: index), second: accept(next, from: index))
        submissions[index].commit()
        prepareFused(pair, command, next)
        return 2
    }

    /// Checks a pair and lets it wait until it is alone.
    private mutating func prepareFused(
        _ pair: Stage.FusedPair, _ first: Command, _ second: Command
    ) {
        guard let place = namespaces.place(of: first.namespace) else {
            return refusePair(pair, .invalidNamespaceOrFormat)
        }
        slots[Int(pair.first)].place = place
        slots[Int(pair.second)].place = place
        let view = namespaces.view(at: place)
        guard first.opcode == NVME_NVM_COMPARE, second.opcode == NVME_NVM_WRITE,
            view.offersCompare, second.namespace == first.namespace,
            second.block == first.block, second.blockCount == first.blockCount
        else { return refusePair(pair, .invalidField) }
        if let status = Self.flaw(first, view, changesData: true) {
            return refusePair(pair, status)
        }
        let byteCount = first.blockCount &<< UInt64(view.blockShift)
        guard byteCount <= UInt64(shape.transferByteLimit) else {
            return refusePair(pair, .invalidField)
        }
        guard byteCount <= UInt64(Self.fusedByteLimit) else {
            return refusePair(pair, .atomicWriteUnit)
        }
        slots[Int(pair.first)].step = .fused
        slots[Int(pair.second)].step = .fused
        stage.pair = pair
    }

    private mutating func refusePair(_ pair: Stage.FusedPair, _ status: NVMeStatus) {
        let second = unwrittenStatus(pair)
        refuse(pair.first, status)
        refuse(pair.second, second)
    }

    /// How the write of a pair ends that is not tried: a predecessor may have written already.
    private func unwrittenStatus(_ pair: Stage.FusedPair) -> NVMeStatus {
        journal.fusedStage(pair.second) == .writing ? .commandInterrupted : .failedFused
    }

    /// The pair is alone.
    mutating func startFused(_ pair: Stage.FusedPair) {
        let first = Command(journal.line(pair.first))
        let second = Command(journal.line(pair.second))
        let view = namespaces.view(at: slots[Int(pair.first)].place)
        let byteCount = Int(first.blockCount &<< UInt64(view.blockShift))
        // Long runs are there: nothing else is under way.
        guard let old = segments(pair.first, first, byteCount: byteCount) else {
            stage.pair = nil
            return refuse(pair.second, unwrittenStatus(pair))
        }
        guard let new = segments(pair.second, second, byteCount: byteCount) else {
            stage.pair = nil
            return refuse(pair.first, .failedFused)
        }
        turn.others &+= 1
        stage.current = Stage.Use(
            kind: .fused, number: pair.first, block: first.block,
            blockShift: UInt64(view.blockShift), byteCount: byteCount, list: old, newData: new,
            second: pair.second, flushes: second.isForced && view.hasCache,
            isUnsettled: journal.fusedStage(pair.second) == .writing)
        readStage()
    }

    /// A request of the pair has ended.
    mutating func fusedStep(_ number: UInt32, _ status: BlockStatus) {
        guard var use = stage.current, phase.answers else { return endPair(.none, .success) }
        if number == use.second {
            if status == .success && use.flushes {
                use.flushes = false
                stage.current = use
                return request(.flush, number, block: 0, blockCount: 0)
            }
            let outcome = NVMeStatus(status, .write)
            return endPair(
                outcome == .success ? .written : .writeFailed, .success, second: outcome)
        }
        guard status == .success else {
            // Unread, it is not known whether a predecessor has written.
            if use.isUnsettled {
                return endPair(.none, NVMeStatus(status, .read), second: .commandInterrupted)
            }
            return endPair(.compareFailed, NVMeStatus(status, .read), second: .failedFused)
        }
        let found = stage.memory.part(at: 0, byteCount: use.byteCount)
        if use.isUnsettled && use.newData.isEqual(to: found, from: 0) {
            return endPair(.written, .success)
        }
        guard use.list.isEqual(to: found, from: 0) else {
            if use.isUnsettled {
                return endPair(.none, .commandInterrupted, second: .commandInterrupted)
            }
            return endPair(.compareFailed, .compareFailure, second: .failedFused)
        }
        journal.setFusedStage(use.second, .writing)
        request(
            .write, use.second, block: use.block,
            blockCount: UInt64(use.byteCount) &>> use.blockShift, use.newData)
    }

    /// Answers both. The outcome is in the journal before the first answer.
    private mutating func endPair(
        _ outcome: InFlightJournal.FusedStage, _ first: NVMeStatus, second: NVMeStatus = .success
    ) {
        guard let pair = stage.pair else { return }
        stage.pair = nil
        stage.current = nil
        if phase.answers && outcome != .none { journal.setFusedStage(pair.second, outcome) }
        finish(pair.first, first)
        finish(pair.second, second)
    }

    /// A fused command of a predecessor: settled by what its journal says, else by reading.
    mutating func startFusedAgain(_ number: UInt32, _ command: Command) {
        guard command.fuse == NVME_FUSE_FIRST else {
            // The first one was answered.
            return finish(number, settledStatus(number))
        }
        guard let next = replay?.next() else { return refuse(number, .missingFused) }
        let second = Command(journal.line(next))
        slots[Int(next)] = Slot(
            submission: slots[Int(number)].submission, command: second.id, place: Self.noPlace)
        guard journal.submission(next) == journal.submission(number),
            journal.sequence(next) == journal.sequence(number) &+ 1
        else {
            refuse(number, .missingFused)
            replay?.stepBack()
            return
        }
        turn.received &+= 1
        let pair = Stage.FusedPair(first: number, second: next)
        switch journal.fusedStage(next) {
        case .none where second.fuse != NVME_FUSE_SECOND:
            turn.received &-= 1
            refuse(number, .missingFused)
            replay?.stepBack()
        case .none, .writing: prepareFused(pair, command, second)
        case .compareFailed:
            finish(pair.first, .compareFailure)
            finish(pair.second, .failedFused)
        case .written, .writeFailed:
            finish(pair.first, .success)
            finish(pair.second, settledStatus(next))
        }
    }

    private func settledStatus(_ number: UInt32) -> NVMeStatus {
        switch journal.fusedStage(number) {
        case .none, .compareFailed: .failedFused
        case .writing: .commandInterrupted
        case .written: .success
        case .writeFailed: .writeFault
        }
    }
}
