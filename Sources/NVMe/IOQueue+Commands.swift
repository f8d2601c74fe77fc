internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// The commands besides Read and Write, and those that take more than one request.
extension IOQueue {
    /// A command for a namespace that is not attached.
    @inline(never)
    mutating func dispatchToNone(_ number: UInt32, _ command: Command) {
        guard command.opcode == NVME_NVM_FLUSH, command.namespace == NVME_NAMESPACE_ALL else {
            return refuse(
                number,
                IOQueue.isKnown(command.opcode) ? .invalidNamespaceOrFormat : .invalidOpcode)
        }
        turn.flushes &+= 1
        slots[Int(number)].step = .flushEach
        slots[Int(number)].operation = .flush
        slots[Int(number)].block = 0
        flushNext(number)
    }

    private static func isKnown(_ opcode: Int) -> Bool {
        switch opcode {
        case NVME_NVM_FLUSH, NVME_NVM_WRITE, NVME_NVM_READ, NVME_NVM_COMPARE,
            NVME_NVM_WRITE_ZEROES, NVME_NVM_DATASET_MANAGEMENT, NVME_NVM_VERIFY:
            true
        default: false
        }
    }

    @inline(never)
    mutating func dispatchOther(_ number: UInt32, _ command: Command, _ place: UInt16) {
        let view = namespaces.view(at: place)
        switch command.opcode {
        case NVME_NVM_FLUSH:
            turn.flushes &+= 1
            if !view.hasCache { return finish(number, .success) }
            request(.flush, number, block: 0, blockCount: 0)
        case NVME_NVM_WRITE_ZEROES where view.offersWriteZeroes:
            if let status = Self.flaw(command, view, changesData: true) {
                return refuse(number, status)
            }
            turn.others &+= 1
            if command.isForced && view.hasCache { slots[Int(number)].step = .flushNext }
            request(.writeZeroes, number, block: command.block, blockCount: command.blockCount)
        case NVME_NVM_COMPARE where view.offersCompare:
            if command.blockCount &<< UInt64(view.blockShift) > UInt64(shape.transferByteLimit) {
                return refuse(number, .invalidField)
            }
            stageWhenSound(number, Self.flaw(command, view, changesData: false))
        case NVME_NVM_VERIFY where view.offersVerify:
            stageWhenSound(number, Self.flaw(command, view, changesData: false))
        case NVME_NVM_DATASET_MANAGEMENT where view.offersDeallocate:
            // The other attributes are advice.
            if !command.deallocates {
                turn.others &+= 1
                return finish(number, .success)
            }
            stageWhenSound(number, view.isReadOnly ? .namespaceWriteProtected : nil)
        default: refuse(number, .invalidOpcode)
        }
    }

    mutating func request(
        _ operation: BlockOperation, _ number: UInt32, block: UInt64, blockCount: UInt64,
        _ segments: SegmentList = .empty
    ) {
        slots[Int(number)].operation = operation
        batch.append(
            BlockRequest(
                operation, tag: number, block: block, blockCount: blockCount, segments: segments))
    }

    /// Lets a command wait for the staging area, unless something is wrong with it.
    private mutating func stageWhenSound(_ number: UInt32, _ flaw: NVMeStatus?) {
        if let flaw { return refuse(number, flaw) }
        slots[Int(number)].step = .staged
        let fits = stage.queue.push(number)
        precondition(fits, "a slot waits once")
    }

    /// One request of a command of several has ended.
    mutating func step(_ number: UInt32, _ status: BlockStatus) {
        let slot = slots[Int(number)]
        switch slot.step {
        case .single: finish(number, NVMeStatus(status, slot.operation))
        case .flushNext:
            guard status == .success, phase.answers else {
                return finish(number, NVMeStatus(status, slot.operation))
            }
            slots[Int(number)].step = .single
            request(.flush, number, block: 0, blockCount: 0)
        case .flushEach:
            guard status == .success, phase.answers else {
                return finish(number, NVMeStatus(status, .flush))
            }
            flushNext(number)
        case .staged: stagedStep(number, status)
        case .fused: fusedStep(number, status)
        }
    }

    /// Flushes the next namespace of those that have a cache.
    private mutating func flushNext(_ number: UInt32) {
        var next = Int(slots[Int(number)].block)
        while next < namespaces.count {
            let place = next
            next += 1
            guard namespaces.isAttached(at: place),
                namespaces.view(at: UInt16(place)).hasCache
            else { continue }
            slots[Int(number)].block = UInt64(next)
            slots[Int(number)].place = UInt16(place)
            return request(.flush, number, block: 0, blockCount: 0)
        }
        finish(number, .success)
    }

    // --- going on ---

    /// Starts what had to wait, and what a predecessor left.
    @inline(__always)
    mutating func goOn() {
        if waiting.isEmpty && stage.isIdle && replay?.isEmpty != false { return }
        goOnSlowly()
    }

    @inline(never)
    private mutating func goOnSlowly() {
        while let number = replay?.next() { startAgain(number) }
        for _ in 0..<waiting.count {
            guard room.hasLong, let number = waiting.pop() else { break }
            if slots[Int(number)].step == .staged {
                _ = stage.queue.push(number)
            } else {
                dispatch(number, Command(journal.line(number)))
            }
        }
        while stage.current == nil, let number = stage.queue.pop() { startStaged(number) }
        if let pair = stage.pair, stage.current == nil, outstanding == 2 { startFused(pair) }
    }

    /// A command of a predecessor.
    private mutating func startAgain(_ number: UInt32) {
        let command = Command(journal.line(number))
        guard let index = submissionIndex(journal.submission(number)) else {
            // Its submission queue is gone, so nobody waits for it.
            journal.ended(number)
            freeSlots.giveBack(number)
            return
        }
        slots[Int(number)] = Slot(
            submission: UInt16(index), command: command.id, place: Self.noPlace)
        turn.received &+= 1
        if command.fuse == 0 {
            dispatch(number, command)
        } else {
            startFusedAgain(number, command)
        }
    }

    func submissionIndex(_ id: UInt16) -> Int? {
        for index in 0..<submissions.count
        where submissions[index].id == id && !submissions[index].isGone {
            return index
        }
        return nil
    }
}
