internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// Back to the host.
extension MirroredRings {
    /// A command has ended.
    /// - Parameter output: how much of its data the host gets.
    func answer(_ slot: UInt32, _ status: NVMeStatus, result: UInt32 = 0, output: Int = 0) {
        slots[Int(slot)].status = status
        slots[Int(slot)].result = result
        slots[Int(slot)].outputByteCount = output
        let fits = finished.push(slot)
        precondition(fits, "a slot is answered once")
    }

    /// Writes what has been answered, all in one batch: data, completion entries, interrupt. The
    /// channel keeps this order.
    func writeAnswers() {
        if answersUnderWay > 0 || isParked { return }
        guard let ring = completion.ring, batch.room > 12 else { return }
        collect()
        if answers.isEmpty {
            if owesInterrupt && phase == .running { raise(MirrorTag(.other)) }
            return
        }
        // The order of slots is that of a successor who looks for the completions.
        sortAnswers()
        let before = batch.count
        for index in 0..<answers.count {
            let number = answers[index]
            let byteCount = slots[Int(number)].outputByteCount
            if byteCount == 0 { continue }
            _ = transfer(.write, MirrorTag(.answer), number, byteCount: byteCount)
        }
        post(to: ring)
        raise(MirrorTag(.answer))
        answersUnderWay = batch.count &- before
    }

    private func raise(_ tag: MirrorTag) {
        owesInterrupt = false
        guard isInterruptEnabled else { return }
        add(.message, tag, cells.message, RemoteAddress(0, key: 0))
    }

    /// Lists what is finished, as much as the batch has room for.
    private func collect() {
        var needed = 12
        while answers.count < answerLimit, let number = finished.first {
            let slot = slots[Int(number)]
            if slot.outputByteCount > 0 { needed &+= slot.run.count &+ slot.chunkCount &+ 1 }
            if isFar { needed &+= Self.farWriteLimit }
            if needed > batch.room { return }
            answers.append(number)
            _ = finished.pop()
        }
    }

    private func sortAnswers() {
        for index in 1..<max(1, answers.count) {
            var place = index
            while place > 0, answers[place &- 1] > answers[place] {
                let number = answers[place]
                answers[place] = answers[place &- 1]
                answers[place &- 1] = number
                place &-= 1
            }
        }
    }

    private func post(to ring: RemoteAddress) {
        let start = completion.tail
        for index in 0..<answers.count {
            let number = answers[index]
            let slot = slots[Int(number)]
            let place = Int(slot.submission)
            journal.ending(number, at: completion.tail, phase: completion.phase)
            carryEnding(number)
            let cell = cells.posted(index, 1)
            let flags = UInt64(slot.status.rawValue) << 1 | (completion.phase ? 1 : 0)
            cell.store(UInt64(slot.result))
            cell.store(
                UInt64(UInt16(truncatingIfNeeded: submissions[place].head))
                    | UInt64(submissions[place].id) << 16 | UInt64(slot.command) << 32
                    | flags << 48, at: 8)
            completion.advance()
        }
        CrashPoint.journalEnding.reached()
        let first = min(answers.count, completion.size &- start)
        add(
            .write, MirrorTag(.answer), cells.posted(0, first),
            ring.advanced(by: NVME_CQE_BYTES &* start))
        if answers.count > first {
            add(.write, MirrorTag(.answer), cells.posted(first, answers.count &- first), ring)
        }
        carryMoved()
    }

    /// A transfer of the batch has ended; with the last one its slots are free.
    func answerEnded() {
        answersUnderWay &-= 1
        guard answersUnderWay == 0 else { return }
        CrashPoint.completionPosted.reached()
        journal.moved(tail: completion.tail, phase: completion.phase)
        for index in 0..<answers.count {
            journal.ended(answers[index])
            free(answers[index])
        }
        CrashPoint.journalEnded.reached()
        answers.removeAll()
        // An answered driver has often more to ask.
        emptyLooks = 0
        if wish == .shallAsk { wish = .polling }
    }

    private func free(_ number: UInt32) {
        giveBackChunks(number)
        let long = slots[Int(number)].longRun
        if long != PieceRoom.none { pieces.giveBackLong(long) }
        freeSlots.giveBack(number)
    }
}
