internal import Bounded
internal import CWire
internal import Memory

/// The in-flight log of a packed ring, on the host's side.
///
/// `packedLog` keeps it in a cell of ours, and each of its steps is written to the host's side as
/// it is done here: entries straight from the cell, where they stay as they are until their chain
/// has been answered; what changes again meanwhile (heads of the free list, position) from the mark
/// of the slot that has changed it. All on one channel, so the host's side sees the same steps in
/// the same order: the entries of a chain, then heads without them; what an answer will change, the
/// used descriptor, then that it has changed.
///
/// Every chain is in the log: a used descriptor overwrites those of the oldest chain.
extension MirroredQueue {
    /// Parts of a slot's mark: what three steps write, and the link of a chain's last entry.
    private enum Part {
        static let taking = 0
        static let ending = 10
        static let ended = 20
        static let next = 30
    }
    private static let heads = PackedInflightLog.Layout.heads
    private static let standing = PackedInflightLog.Layout.standing

    /// Notes the chain that was copied last, before anything is done for it.
    /// - Parameter head: where the log has it already.
    func record(
        _ slot: inout MirrorSlot, _ number: UInt32, at head: UInt16?
    ) throws(QueueFault) {
        slot.descriptorCount = UInt16(chainCopy.count)
        slot.logEntry = head ?? 0
        guard head == nil, let log = place.log, let first = try packedLog?.began(chainCopy) else {
            return
        }
        slot.logEntry = first
        var entry = first
        for _ in 0..<chainCopy.count {
            guard let offset = packedLog?.entry(entry) else { return }
            add(
                .write, MirrorTag(.journal, number),
                cells.log.part(at: offset, byteCount: PackedInflightLog.Layout.entry).segment,
                log.advanced(by: offset))
            entry = packedLog?.entry(after: entry) ?? 0
        }
        remember(number, Part.taking)
        writeHeads(number, Part.taking, MirrorTag(.journal, number))
        slot.pendingRecords = chainCopy.count &+ 1
    }

    /// Before the used descriptor: what will be true once the driver can see it.
    func recordEnding(_ slot: MirrorSlot, _ number: UInt32) {
        guard let log = place.log, let last = packedLog?.lastEntry(slot.logEntry) else { return }
        packedLog?.ending(slot.logEntry, usedAfter: position)
        guard let offset = packedLog?.entry(last) else { return }
        let link = offset &+ PackedInflightLog.Layout.next
        let cell = cells.mark(Int(number)).part(at: Part.next, byteCount: 2)
        cell.store(cells.log.load(UInt16.self, at: link))
        add(.write, MirrorTag(.answer), cell, log.advanced(by: link))
        remember(number, Part.ending)
        writeHeads(number, Part.ending, MirrorTag(.answer))
        writeStanding(number, Part.ending, MirrorTag(.answer))
    }

    /// After it.
    func recordEnded(_ slot: MirrorSlot, _ number: UInt32) {
        guard let log = place.log, let offset = packedLog?.entry(slot.logEntry) else { return }
        packedLog?.ended(slot.logEntry, at: position)
        add(
            .write, MirrorTag(.answer), cells.zero.part(at: 0, byteCount: 1),
            log.advanced(by: offset))
        remember(number, Part.ended)
        // Pairs with `settle`: a step counts as done with its position.
        writeHeads(number, Part.ended, MirrorTag(.answer))
        writeStanding(number, Part.ended, MirrorTag(.answer))
    }

    /// Keeps heads and position as they are now.
    private func remember(_ number: UInt32, _ part: Int) {
        let mark = cells.mark(Int(number))
        var offset = 0
        while Self.heads.lowerBound &+ offset < Self.standing.upperBound {
            let word = cells.log.load(UInt16.self, at: Self.heads.lowerBound &+ offset)
            mark.store(word, at: part &+ offset)
            offset &+= 2
        }
    }

    private func writeHeads(_ number: UInt32, _ part: Int, _ tag: MirrorTag) {
        write(Self.heads, of: number, part, tag)
    }

    private func writeStanding(_ number: UInt32, _ part: Int, _ tag: MirrorTag) {
        write(Self.standing, of: number, part, tag)
    }

    private func write(_ range: Range<Int>, of number: UInt32, _ part: Int, _ tag: MirrorTag) {
        guard let log = place.log else { return }
        let offset = part &+ range.lowerBound &- Self.heads.lowerBound
        add(
            .write, tag, cells.mark(Int(number)).part(at: offset, byteCount: range.count),
            log.advanced(by: range.lowerBound))
    }

    // --- opening ---

    /// Reads the chain at `head` of the log back.
    func copyLogged(_ head: UInt16) { packedLog?.read(head, into: &chainCopy) }

    /// Goes on from the log that has been read, and stores what that has changed: entries, heads,
    /// position, and last what makes it a log.
    func adoptPacked() throws(QueueFault) {
        guard let log = place.log else { return }
        let area = cells.log
        var opened = try PackedInflightLog(
            area: area, queueSize: setup.size, position: position)
        replay = try opened.takeOver(&position) {
            !PackedRing.isAvailable(cells.flags(Int($0.usedIndex)), wrap: $0.usedWrap)
        }
        packedLog = consume opened
        let header = PackedInflightLog.Layout.header
        for range in [
            header..<area.byteCount, Self.heads, Self.standing, 0..<Self.heads.lowerBound,
        ] {
            journal.pendingReads &+= 1
            add(
                .write, MirrorTag(.opening),
                area.part(at: range.lowerBound, byteCount: range.count).segment,
                log.advanced(by: range.lowerBound))
        }
    }
}
