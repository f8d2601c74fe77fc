internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// What a predecessor has left, doorbells, and commands.
extension MirroredRings {
    // --- opening ---

    /// Looks at the completions that a predecessor may have posted, then goes on from there.
    func open() throws(QueueFault) {
        guard let ring = completion.ring, !isParked else { return }
        if !isOpeningAsked {
            isOpeningAsked = true
            for slot in 0..<UInt32(slots.count) {
                guard let place = expected(slot) else { continue }
                openingReads &+= 1
                add(
                    .read, MirrorTag(.opening), cells.found(slot),
                    ring.advanced(by: NVME_CQE_BYTES &* place.index))
            }
            if case .host(let value, _) = completion.doorbell {
                openingReads &+= 1
                add(.read, MirrorTag(.opening), cells.doorbell(0), value)
            }
        }
        guard openingReads == 0 else { return }
        let before = isFar ? takenInJournal : []
        let remains = try journal.takeOver(
            size: completion.size, of: journalMemory, slotCount: slots.count
        ) { isFound($0) }
        carryTakeOver(
            tail: remains.tail, phase: remains.phase,
            closed: before.filter { !journal.isTaken($0) })
        var head = Int(cells.doorbell(0).load(UInt32.self) & 0xFFFF)
        if case .page(let bytes) = completion.doorbell {
            head = Int(bytes.loadAcquire32(at: 0) & 0xFFFF)
        }
        try completion.resume(tail: remains.tail, phase: remains.phase, head: head)
        freeSlots.keep(remains.slots)
        replay = SlotReplay(slots: remains.slots)
        stage = .open
    }

    private var takenInJournal: [UInt32] {
        (0..<UInt32(slots.count)).filter { journal.isTaken($0) }
    }

    /// Where a slot's completion would be found, if one is to be looked for.
    private func expected(_ slot: UInt32) -> (index: Int, phase: Bool)? {
        guard journal.position() != nil, journal.isTaken(slot),
            Int(journal.submission(slot)) < journalMemory.queueCount,
            journal.isConsumed(slot, of: journalMemory),
            let place = journal.completion(slot), place.index < completion.size
        else { return nil }
        return place
    }

    private func isFound(_ slot: UInt32) -> Bool {
        guard let place = expected(slot) else { return false }
        let word = cells.found(slot).load(UInt64.self, at: 8)
        return UInt16(truncatingIfNeeded: word >> 16) == journal.submission(slot)
            && UInt16(truncatingIfNeeded: word >> 32) == Command(journal.line(slot)).id
            && (word >> 48 & 1 != 0) == place.phase
    }

    // --- commands ---

    func fetch() throws(QueueFault) {
        while let slot = replay?.next() { startAgain(slot) }
        guard phase == .running, !isParked else { return }
        try refresh()
        take()
        look()
    }

    private func startAgain(_ slot: UInt32) {
        guard let index = submissionIndex(journal.submission(slot)) else {
            // Its submission queue is gone, so nobody waits for it.
            journal.ended(slot)
            carryEnded(slot, MirrorTag(.other))
            freeSlots.giveBack(slot)
            return
        }
        slots[Int(slot)] = MirrorSlot(
            submission: UInt16(index), command: Command(journal.line(slot)).id)
        slots[Int(slot)].isAgain = true
        _ = fresh.push(slot)
    }

    func submissionIndex(_ id: UInt16) -> Int? {
        for index in 0..<submissions.count
        where submissions[index].id == id && !submissions[index].isGone {
            return index
        }
        return nil
    }

    /// Reads the doorbells that are here.
    private func refresh() throws(QueueFault) {
        if case .page(let bytes) = completion.doorbell {
            try completion.note(head: Int(bytes.loadAcquire32(at: 0) & 0xFFFF))
        }
        for index in 0..<submissions.count where submissions[index].isUsable {
            if case .page(let bytes) = submissions[index].doorbell {
                // Pairs with the host's store, after its entries (Base §3.3.1.2).
                try submissions[index].note(tail: Int(bytes.loadAcquire32(at: 0) & 0xFFFF))
            }
        }
    }

    /// Takes entries that have been copied, from each submission queue in turn, while completions
    /// can be promised.
    private func take() {
        var limit = min(freeSlots.freeCount, completion.room(reserved: outstanding))
        let count = submissions.count
        if isFar { limit = min(limit, (batch.room &- count &- 12) / Self.farWriteLimit) }
        for turn in 0..<count {
            let index = (firstSubmission &+ turn) % count
            var last: UInt32?
            while limit > 0, submissions[index].hasCopy, !submissions[index].isReading,
                let slot = freeSlots.take()
            {
                accept(slot, from: index)
                limit &-= 1
                last = slot
            }
            if let last { carryConsumed(of: submissions[index].id, with: last) }
        }
        firstSubmission = firstSubmission &+ 1 < count ? firstSubmission &+ 1 : 0
    }

    private func accept(_ slot: UInt32, from index: Int) {
        let line = submissions[index].entry()
        journal.reopen(slot)
        journal.began(
            slot, line, sequence: submissions[index].consumed, submission: submissions[index].id)
        CrashPoint.journalBegan.reached()
        submissions[index].advance()
        carryBegan(slot, consumed: submissions[index].consumed)
        slots[Int(slot)] = MirrorSlot(submission: UInt16(index), command: Command(line).id)
        _ = fresh.push(slot)
    }

    // --- looking ---

    /// Copies entries that are known to be there; reads doorbells in host memory.
    private func look() {
        for index in 0..<submissions.count where submissions[index].isUsable {
            if submissions[index].isReading || !submissions[index].hasMore { continue }
            guard batch.room > 4, let next = submissions[index].copyNext() else { continue }
            add(.read, MirrorTag(.entries, UInt32(index)), next.local, next.place)
        }
        guard isLookDue, batch.room > 3 &* submissions.count &+ 12 else { return }
        switch wish {
        case .polling: break
        case .shallAsk:
            wish = .asking
            askForEvents()
        case .asking: return
        case .asleep:
            wish = .polling
            emptyLooks = 0
        }
        readDoorbells()
    }

    /// Whether doorbells in host memory are to be read: nobody says when.
    var isLookDue: Bool {
        guard usesShadow, looksUnderWay == 0, stores == 0 else { return false }
        switch wish {
        case .asking: return false
        case .shallAsk: return true
        case .asleep: return isKicked
        case .polling:
            // Not while there is enough to do, or nobody to do it for.
            for index in 0..<submissions.count where submissions[index].isUsable {
                let entry = submissions[index]
                if !entry.isReading && !entry.hasCopy && !entry.hasMore { return true }
                if completion.room(reserved: outstanding) <= 0 { return true }
            }
            return false
        }
    }

    var usesShadow: Bool {
        if completion.doorbell.isInHostMemory { return true }
        for index in 0..<submissions.count where submissions[index].doorbell.isInHostMemory {
            return true
        }
        return false
    }

    private func readDoorbells() {
        // A kick before these reads is answered by them.
        isKicked = false
        if case .host(let value, _) = completion.doorbell {
            looksUnderWay &+= 1
            add(.read, MirrorTag(.doorbell), cells.doorbell(0), value)
        }
        for index in 0..<submissions.count where submissions[index].isUsable {
            guard case .host(let value, _) = submissions[index].doorbell else { continue }
            looksUnderWay &+= 1
            submissions[index].isAsked = true
            add(.read, MirrorTag(.doorbell), cells.doorbell(index &+ 1), value)
        }
    }

    /// Pairs with the driver's fence between its store of a doorbell and its reading of our event
    /// index (Base §5.8): the reads that follow these writes see the value, or the driver sees what
    /// we ask for.
    private func askForEvents() {
        if case .host(_, let event?) = completion.doorbell {
            cells.eventIndex(0).store(UInt32(completion.knownHead))
            add(.write, MirrorTag(.other), cells.eventIndex(0), event)
        }
        for index in 0..<submissions.count where submissions[index].isUsable {
            guard case .host(_, let event?) = submissions[index].doorbell else { continue }
            cells.eventIndex(index &+ 1).store(UInt32(submissions[index].knownTail))
            add(.write, MirrorTag(.other), cells.eventIndex(index &+ 1), event)
        }
    }

    /// All doorbells that were asked for have come.
    func doorbellsAreThere() throws(QueueFault) {
        var hasNews = false
        if completion.doorbell.isInHostMemory {
            let head = Int(cells.doorbell(0).load(UInt32.self) & 0xFFFF)
            if head != completion.knownHead { hasNews = true }
            try completion.note(head: head)
        }
        for index in 0..<submissions.count where submissions[index].isUsable {
            // Another one may have come to this place meanwhile.
            guard submissions[index].isAsked else { continue }
            submissions[index].isAsked = false
            let tail = Int(cells.doorbell(index &+ 1).load(UInt32.self) & 0xFFFF)
            if tail != submissions[index].knownTail { hasNews = true }
            try submissions[index].note(tail: tail)
        }
        if hasNews {
            emptyLooks = 0
            wish = .polling
            return
        }
        emptyLooks &+= 1
        if wish == .asking {
            wish = .asleep
        } else if emptyLooks >= Self.idleLookLimit {
            wish = .shallAsk
        }
    }

    /// Whether a doorbell that is here says that there is something to take.
    var hasRings: Bool {
        var hasEntries = false
        for index in 0..<submissions.count where submissions[index].isUsable {
            let entry = submissions[index]
            if entry.isReading { continue }
            if entry.hasCopy || entry.hasMore { hasEntries = true }
            if case .page(let bytes) = entry.doorbell,
                Int(bytes.loadAcquire32(at: 0) & 0xFFFF) != entry.knownTail
            {
                hasEntries = true
            }
        }
        guard hasEntries, freeSlots.freeCount > 0 else { return false }
        if completion.room(reserved: outstanding) > 0 { return true }
        guard case .page(let bytes) = completion.doorbell else { return false }
        return Int(bytes.loadAcquire32(at: 0) & 0xFFFF) != completion.knownHead
    }
}
