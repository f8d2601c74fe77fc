internal import Bounded
internal import CWire
internal import Memory

/// How far a mirrored queue has come with writing answers.
struct AnswerState: ~Copyable {
    /// The model's next entry: that we offer, and that it uses.
    var nextOffer: UInt16 = 0
    var nextModelUsed: UInt16 = 0
    /// Slots of the batch under way, in the order of the used ring.
    var list: BoundedArray<UInt32>
    /// Its transfers that have not ended.
    var underWay = 0
    var owesInterrupt = false

    init(capacity: Int) { list = BoundedArray(capacity: capacity) }
}

/// From the device model's used ring to the host.
extension MirroredQueue {
    /// Writes what the device model has answered, all in one batch: the log's first part, data and
    /// status, used entries, used index, the log's second part, interrupt. The channel keeps this
    /// order, so the driver never sees an entry before its data.
    func answer() {
        if answers.underWay > 0 { return }
        // For the log, and the used entries of a split ring.
        let reserve = setup.isPacked ? 16 : 3 &* slots.count &+ 16
        guard batch.room >= reserve else { return }
        let before = batch.count
        collect(reserve)
        if answers.list.isEmpty {
            if answers.owesInterrupt && phase == .running {
                answers.owesInterrupt = false
                add(.message, MirrorTag(.other), cells.message, RemoteAddress(0, key: 0))
            }
            return
        }
        if !setup.isPacked { beginLog() }
        for index in 0..<answers.list.count { writeAnswer(answers.list[index]) }
        if setup.isPacked {
            for index in 0..<answers.list.count { writePackedUsed(answers.list[index]) }
        } else {
            writeSplitUsed()
            endLog()
        }
        answers.owesInterrupt = false
        add(.message, MirrorTag(.answer), cells.message, RemoteAddress(0, key: 0))
        answers.underWay = batch.count &- before
    }

    /// Lists what the device model has used, as much as the batch has room for.
    private func collect(_ reserve: Int) {
        let end = cells.modelUsedIndex
        var needed = reserve
        while answers.nextModelUsed != end {
            let (head, written) = cells.modelUsed(answers.nextModelUsed)
            let number = head / 4
            let slot = slots[number]
            needed &+= slot.chain.writableCount &+ slot.inputChunks &+ 1
            if setup.isPacked { needed &+= Self.packedAnswerLimit }
            if needed > batch.room { return }
            slots[number].written = written
            slots[number].isAnswering = true
            answers.list.append(UInt32(number))
            answers.nextModelUsed &+= 1
        }
    }

    private func writeAnswer(_ number: UInt32) {
        let slot = slots[Int(number)]
        if slot.written > 1 {
            let most = slot.chain.writableBytes &- 1
            _ = writeInput(slot, number, byteCount: min(Int(slot.written) &- 1, most))
        }
        guard slot.written > 0, hasStatus(slot) else { return }
        let piece = pieces[slot.chain.last]
        add(
            .write, MirrorTag(.answer), cells.status(Int(number)),
            piece.place.advanced(by: piece.byteCount &- 1))
    }

    /// A transfer of the batch has ended; with the last one its slots are free.
    func answerEnded() {
        answers.underWay &-= 1
        guard answers.underWay == 0 else { return }
        for index in 0..<answers.list.count {
            let number = answers.list[index]
            giveBackChunks(number)
            let long = slots[Int(number)].longRun
            if long != PieceRoom.none { pieces.giveBackLong(long) }
            freeSlots.giveBack(number)
        }
        answers.list.removeAll()
        // An answered driver has often more to ask.
        reads.emptyLooks = 0
        if reads.wish == .shallAsk { reads.wish = .polling }
    }
}
