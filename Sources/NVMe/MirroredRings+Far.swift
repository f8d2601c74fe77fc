internal import Bounded
internal import Memory

/// The journal of rings whose function memory is on another machine. What `InFlightJournal` stores
/// here is written there too, on the queue pair that carries data and completions, whose order is
/// that of the stores: a successor that reads there finds what a crash between any two of them
/// would have left.
///
/// A write's bytes stay as they are until its end, so each has a place of its own: its slot's, that
/// nobody takes again before all of it has ended, or one of the batch of answers that is under way.
struct FarJournal {
    private static let cellByteCount = 96
    let part: StagingArea.Part
    private let slotCount: Int
    /// Of the journal, in function memory.
    let start: Int

    /// Nil when the staging area has no room.
    init?(in staging: StagingArea, slotCount: Int, start: Int) {
        let byteCount = Self.cellByteCount * slotCount + 32
        guard let part = staging.takePart(byteCount: byteCount) else { return nil }
        self.part = part
        self.slotCount = slotCount
        self.start = start
    }

    private func cell(_ offset: Int, _ byteCount: Int) -> HostSegment {
        part.bytes.part(at: offset, byteCount: byteCount).segment
    }

    func slot(_ slot: UInt32, at offset: Int, _ byteCount: Int) -> HostSegment {
        cell(Self.cellByteCount &* Int(slot) &+ offset, byteCount)
    }

    /// What its submission queue had given when the slot was taken.
    func consumed(_ number: UInt32) -> HostSegment { slot(number, at: 88, 8) }
    /// The journal's position behind the answers that are under way.
    var tail: HostSegment { cell(Self.cellByteCount * slotCount, 4) }
    /// That at which the rings went on, and the journal's mark. On their way there may be answers
    /// already: none of them has moved this one.
    var firstTail: HostSegment { cell(Self.cellByteCount * slotCount + 8, 4) }
    var mark: HostSegment { cell(Self.cellByteCount * slotCount + 4, 4) }
    var zeros: HostSegment { cell(Self.cellByteCount * slotCount + 16, 8) }

    func offset(of slot: UInt32) -> Int {
        start &+ NVMeMemory.Layout.journalHeader &+ Int(slot) &* NVMeMemory.Layout.slot
    }
}

extension MirroredRings {
    private typealias Field = InFlightJournal.Field

    /// Writes of one command into a journal that is far: when it is taken, when it is answered.
    static let farWriteLimit = 2

    var isFar: Bool { far != nil }

    private func place(_ offset: Int) -> RemoteAddress {
        // Without it the rings are parked.
        memory.device?.memory.advanced(by: offset) ?? RemoteAddress(0, key: 0)
    }

    /// `InFlightJournal.began`: the command, then its mark; nothing has been decided of it.
    func carryBegan(_ slot: UInt32, consumed: UInt64) {
        guard let far else { return }
        let cell = far.slot(slot, at: 0, Field.result)
        cell.copy(from: journal.entry(slot).part(at: 0, byteCount: Field.result))
        far.consumed(slot).store(consumed)
        let start = far.offset(of: slot)
        add(
            .write, MirrorTag(.other), far.slot(slot, at: 0, Field.completion),
            place(start))
        add(
            .write, MirrorTag(.other),
            far.slot(slot, at: Field.completion, Field.result - Field.completion),
            place(start &+ Field.completion))
    }

    /// The slots before the count are written: they count from here on.
    func carryConsumed(of id: UInt16, with slot: UInt32) {
        guard let far else { return }
        journalsUnderWay &+= 1
        add(
            .write, MirrorTag(.journal), far.consumed(slot),
            place(journalMemory.consumedOffset(of: id)))
    }

    /// `InFlightJournal.ending`.
    func carryEnding(_ slot: UInt32) {
        guard let far else { return }
        // A write of the mark that is still under way may take this along: the place is known
        // before the completion either way.
        let cell = far.slot(slot, at: Field.completion, 4)
        cell.copy(from: journal.entry(slot).part(at: Field.completion, byteCount: 4))
        add(.write, MirrorTag(.answer), cell, place(far.offset(of: slot) &+ Field.completion))
    }

    /// `InFlightJournal.moved` and `ended`, behind the completions of `answers`.
    func carryMoved() {
        guard let far else { return }
        far.tail.store(InFlightJournal.word(completion.tail, completion.phase))
        add(.write, MirrorTag(.answer), far.tail, place(far.start))
        for index in 0..<answers.count { carryEnded(answers[index], MirrorTag(.answer)) }
    }

    func carryEnded(_ slot: UInt32, _ tag: MirrorTag) {
        guard let far else { return }
        add(.write, tag, far.zeros, place(far.offset(of: slot) &+ Field.completion))
    }

    /// `InFlightJournal.reopen`.
    func carryReopened(_ slot: UInt32) {
        guard let far else { return }
        journalsUnderWay &+= 1
        add(.write, MirrorTag(.journal), far.zeros, place(far.offset(of: slot) &+ Field.mark))
    }

    /// What `InFlightJournal.takeOver` has changed: the position, then the slots that it closed.
    func carryTakeOver(tail: Int, phase: Bool, closed: [UInt32]) {
        guard let far else { return }
        far.firstTail.store(InFlightJournal.word(tail, phase))
        far.mark.store(UInt32(1))
        add(.write, MirrorTag(.other), far.firstTail, place(far.start))
        add(.write, MirrorTag(.other), far.mark, place(far.start &+ 4))
        for slot in closed { carryEnded(slot, MirrorTag(.other)) }
    }
}
