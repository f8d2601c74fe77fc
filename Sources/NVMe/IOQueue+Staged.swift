internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// Commands that need the staging area: Compare, Verify and Dataset Management (NVM §3.2).
extension IOQueue {
    /// The staging area is the command's.
    mutating func startStaged(_ number: UInt32) {
        let command = Command(journal.line(number))
        let view = namespaces.view(at: slots[Int(number)].place)
        let shift = UInt64(view.blockShift)
        let byteCount = Int(command.blockCount &<< shift)
        switch command.opcode {
        case NVME_NVM_COMPARE:
            guard let list = segments(number, command, byteCount: byteCount) else { return }
            stage.current = Stage.Use(
                kind: .compare, number: number, block: command.block, blockShift: shift,
                byteCount: byteCount, list: list)
            readStage()
        case NVME_NVM_VERIFY:
            stage.current = Stage.Use(
                kind: .verify, number: number, block: command.block, blockShift: shift,
                byteCount: byteCount)
            readStage()
        default:
            startRanges(number, command, view)
        }
    }

    /// Reads the next piece of the blocks into the staging area.
    mutating func readStage() {
        guard var use = stage.current else { return }
        if use.done == 0 { turn.others &+= 1 }
        use.chunk = min(NVMeMemory.stageByteCount, use.byteCount &- use.done)
        stage.current = use
        request(
            .read, use.number, block: use.block &+ UInt64(use.done) &>> use.blockShift,
            blockCount: UInt64(use.chunk) &>> use.blockShift,
            room.staged(stage.memory.part(at: 0, byteCount: use.chunk)))
    }

    /// Copies the ranges out once, checks them all, then frees one after the other.
    private mutating func startRanges(
        _ number: UInt32, _ command: Command, _ view: NamespaceView
    ) {
        let count = command.rangeCount
        let byteCount = count * MemoryLayout<nvme_dsm_range>.size
        guard let list = segments(number, command, byteCount: byteCount) else { return }
        list.gather(into: stage.memory.part(at: 0, byteCount: byteCount))
        for index in 0..<count {
            let range = stagedRange(index)
            let length = UInt64(range.block_count)
            if length > view.blockCount || range.block > view.blockCount &- length {
                return refuse(number, .blockOutOfRange)
            }
        }
        stage.current = Stage.Use(
            kind: .ranges, number: number, block: 0, blockShift: 0, byteCount: count)
        turn.others &+= 1
        freeNextRange()
    }

    private func stagedRange(_ index: Int) -> nvme_dsm_range {
        stage.memory.load(
            nvme_dsm_range.self, at: index * MemoryLayout<nvme_dsm_range>.size)
    }

    private mutating func freeNextRange() {
        guard var use = stage.current else { return }
        while use.done < use.byteCount {
            let range = stagedRange(use.done)
            use.done += 1
            stage.current = use
            if range.block_count == 0 { continue }
            return request(
                .unmap, use.number, block: range.block, blockCount: UInt64(range.block_count))
        }
        endStaged(use.number, .success)
    }

    private mutating func endStaged(_ number: UInt32, _ status: NVMeStatus) {
        stage.current = nil
        finish(number, status)
    }

    /// The request of the command that has the staging area has ended.
    mutating func stagedStep(_ number: UInt32, _ status: BlockStatus) {
        guard status == .success, phase.answers, var use = stage.current else {
            return endStaged(number, NVMeStatus(status, slots[Int(number)].operation))
        }
        if use.kind == .ranges { return freeNextRange() }
        if use.kind == .compare {
            let piece = stage.memory.part(at: 0, byteCount: use.chunk)
            guard use.list.isEqual(to: piece, from: use.done) else {
                return endStaged(number, .compareFailure)
            }
        }
        use.done &+= use.chunk
        stage.current = use
        if use.done == use.byteCount {
            endStaged(number, .success)
        } else {
            readStage()
        }
    }
}
