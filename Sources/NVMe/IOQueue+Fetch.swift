internal import Bdev
internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// From a command on its ring to a request.
extension IOQueue {
    /// Takes commands, from each submission queue in turn, while completions can be promised.
    mutating func fetch() throws(QueueFault) {
        if replay == nil { try open() }
        // A fused pair runs alone; what a predecessor left comes first.
        if stage.isExclusive || replay?.isEmpty != true { return }
        var limit = min(Self.turnLimit, freeSlots.freeCount)
        if completion.knownRoom(reserved: outstanding) < limit {
            try completion.readHead()
            limit = min(limit, completion.knownRoom(reserved: outstanding))
        }
        let count = submissions.count
        var index = firstSubmission
        for _ in 0..<count {
            if limit <= 0 || stage.isExclusive { break }
            if index >= count { index = 0 }
            limit &-= try take(from: index, limit: limit)
            index &+= 1
        }
        firstSubmission = firstSubmission &+ 1 < count ? firstSubmission &+ 1 : 0
    }

    /// - Returns: commands taken.
    @inline(__always)
    private mutating func take(from index: Int, limit: Int) throws(QueueFault) -> Int {
        var taken = 0
        while taken < limit, try submissions[index].hasWork() {
            let command = Command(submissions[index].entry())
            if command.fuse == 0 {
                dispatch(accept(command, from: index), command)
                taken &+= 1
            } else {
                let pair = try takeFused(command, from: index, limit: limit &- taken)
                taken &+= pair
                if pair == 0 || stage.isExclusive { break }
            }
        }
        if !submissions[index].isCommitted { submissions[index].commit() }
        return taken
    }

    /// The next command of a ring is ours. A slot is free.
    @inline(__always)
    mutating func accept(_ command: Command, from index: Int) -> UInt32 {
        guard let number = freeSlots.take() else { preconditionFailure("no slot was reserved") }
        journal.began(
            number, command.line, sequence: submissions[index].consumed,
            submission: submissions[index].id)
        CrashPoint.journalBegan.reached()
        submissions[index].advance()
        slots[Int(number)] = Slot(
            submission: UInt16(truncatingIfNeeded: index), command: command.id, place: Self.noPlace)
        turn.received &+= 1
        return number
    }

    /// Starts a command that lies in its slot.
    @inline(__always)
    mutating func dispatch(_ number: UInt32, _ command: Command) {
        guard let place = namespaces.place(of: command.namespace) else {
            return dispatchToNone(number, command)
        }
        slots[Int(number)].place = place
        switch command.opcode {
        case NVME_NVM_READ: transfer(number, command, place, .read)
        case NVME_NVM_WRITE: transfer(number, command, place, .write)
        default: dispatchOther(number, command, place)
        }
    }

    @inline(__always)
    private mutating func transfer(
        _ number: UInt32, _ command: Command, _ place: UInt16, _ operation: BlockOperation
    ) {
        let view = namespaces.view(at: place)
        let byteCount = Int(command.blockCount &<< UInt64(view.blockShift))
        if let status = Self.flaw(command, view, changesData: operation == .write) {
            return refuse(number, status)
        }
        if byteCount > shape.transferByteLimit { return refuse(number, .invalidField) }
        guard let segments = segments(number, command, byteCount: byteCount) else { return }
        if operation == .read {
            turn.reads &+= 1
            turn.bytesRead &+= UInt64(byteCount)
        } else {
            turn.writes &+= 1
            turn.bytesWritten &+= UInt64(byteCount)
        }
        slots[Int(number)].operation = operation
        if command.isForced && view.hasCache { slots[Int(number)].step = .flushNext }
        batch.append(
            BlockRequest(
                operation, tag: number, block: command.block, blockCount: command.blockCount,
                segments: segments))
    }

    /// What is wrong with the blocks that a command names.
    @inline(__always)
    static func flaw(
        _ command: Command, _ view: NamespaceView, changesData: Bool
    ) -> NVMeStatus? {
        let count = command.blockCount
        if count > view.blockCount || command.block > view.blockCount &- count {
            return .blockOutOfRange
        }
        return changesData && view.isReadOnly ? .namespaceWriteProtected : nil
    }

    /// The host memory that a command moves; nil when it was refused, or waits for a long run.
    @inline(__always)
    mutating func segments(
        _ number: UInt32, _ command: Command, byteCount: Int
    ) -> SegmentList? {
        let first = command.dataPointer.first
        // One page, near the last one, is the commonest case by far.
        if command.dataPointerKind == NVME_PSDT_PRP, first & 3 == 0,
            Int(first & 4095) &+ byteCount <= QueueShape.pageByteCount,
            let page = window.segment(at: first, byteCount: UInt32(truncatingIfNeeded: byteCount))
        {
            let run = room.shortRun(of: number)
            run.arena[run.start] = page
            return run.arena.list(at: run.start, count: 1)
        }
        return walkedSegments(number, command, byteCount: byteCount)
    }

    @inline(never)
    private mutating func walkedSegments(
        _ number: UInt32, _ command: Command, byteCount: Int
    ) -> SegmentList? {
        do throws(DataFault) {
            return try walk(command, byteCount: byteCount, into: room.shortRun(of: number))
        } catch {
            if case .refused(let status) = error {
                refuse(number, status)
                return nil
            }
        }
        guard let long = room.takeLong() else {
            let fits = waiting.push(number)
            precondition(fits, "a slot waits once")
            return nil
        }
        slots[Int(number)].longRun = long
        do throws(DataFault) {
            return try walk(command, byteCount: byteCount, into: room.longRun(long))
        } catch {
            // Full again: divided by more regions than there is room for.
            if case .refused(let status) = error {
                refuse(number, status)
            } else {
                refuse(number, .dataTransferError)
            }
            return nil
        }
    }

    private mutating func walk(
        _ command: Command, byteCount: Int, into run: SegmentRun
    ) throws(DataFault) -> SegmentList {
        var walk = SegmentWalk(memory, window, into: run)
        let list = try walk.list(command, byteCount: byteCount)
        window = walk.window
        return list
    }
}

extension SegmentWalk {
    /// All that a command's data pointer describes.
    mutating func list(_ command: Command, byteCount: Int) throws(DataFault) -> SegmentList {
        let pointer = command.dataPointer
        switch command.dataPointerKind {
        case NVME_PSDT_PRP:
            try addPages(pointer.first, pointer.second, byteCount: byteCount)
        case NVME_PSDT_SGL, NVME_PSDT_SGL_METADATA:
            try addList(pointer, byteCount: byteCount)
        default: throw .refused(.invalidField)
        }
        return try list()
    }
}
