internal import CWire
internal import Memory

/// What a successor must know of one completion queue's commands (design §4): a slot for each
/// command in flight, and where the next completion goes.
///
/// Stores are ordered so that a crash between any two of them loses nothing and repeats nothing:
///
/// 1. `began`: the command, then its mark; it counts once the consumed index includes it
///    (`SubmissionRing.commit`).
/// 2. `ending`: the exact place of the completion, before the completion is stored.
/// 3. `moved`: the tail, after the completion is stored.
/// 4. `ended`: the slot is free, after the tail has moved.
struct InFlightJournal {
    enum Field {
        static let sequence = 64
        static let completion = 72
        static let submissionQueue = 76
        static let state = 78
        static let stage = 79
        static let mark = 80
        static let result = 88
        static let status = 92
    }

    /// How far a fused Compare and Write has come; kept in the slot of the write.
    enum FusedStage: UInt8 {
        case none = 0
        /// The write may have reached the device.
        case writing = 1
        case compareFailed = 2
        case written = 3
        case writeFailed = 4
    }

    private static let isCompleting: UInt32 = 1 << 31
    private static let takenMark: UInt64 = 1 << 48
    private let area: SharedBytes

    init(_ area: SharedBytes) { self.area = area }

    @inline(__always)
    private func offset(_ slot: UInt32) -> Int {
        NVMeMemory.Layout.journalHeader &+ Int(slot) &* NVMeMemory.Layout.slot
    }

    /// A command was copied off its ring.
    @inline(__always)
    func began(_ slot: UInt32, _ line: CacheLine, sequence: UInt64, submission: UInt16) {
        let start = offset(slot)
        area.store(line, at: start)
        area.store(sequence, at: start &+ Field.sequence)
        // Pairs with `taken` of a successor: the command is there when the mark is.
        area.storeRelease64(
            InFlightJournal.takenMark | UInt64(submission) << 32, at: start &+ Field.completion)
    }

    /// The command's completion goes to `index` next.
    @inline(__always)
    func ending(_ slot: UInt32, at index: Int, phase: Bool) {
        // Pairs with `completion` of a successor: the place is known before the releasing store of
        // the completion's phase tag.
        area.storeRelease32(
            InFlightJournal.isCompleting | (phase ? 1 << 16 : 0)
                | UInt32(truncatingIfNeeded: index),
            at: offset(slot) &+ Field.completion)
    }

    /// The completion stands; the next one goes to `tail`.
    @inline(__always)
    func moved(tail: Int, phase: Bool) {
        // Pairs with `position` of a successor: no place is used twice.
        area.storeRelease32(Self.word(tail, phase), at: 0)
    }

    /// How a position is stored.
    @inline(__always)
    static func word(_ tail: Int, _ phase: Bool) -> UInt32 {
        UInt32(truncatingIfNeeded: tail) | (phase ? 1 << 16 : 0)
    }

    @inline(__always)
    func ended(_ slot: UInt32) {
        // After `moved`: a successor that finds the slot free finds the tail behind its completion.
        area.storeRelease64(0, at: offset(slot) &+ Field.completion)
    }

    /// The line that `began` stored.
    func line(_ slot: UInt32) -> CacheLine { area.loadLine(at: offset(slot)) }
    /// All of the slot.
    func entry(_ slot: UInt32) -> HostSegment {
        area.part(at: offset(slot), byteCount: NVMeMemory.Layout.slot).segment
    }

    func command(_ slot: UInt32) -> nvme_sqe { area.load(nvme_sqe.self, at: offset(slot)) }

    func sequence(_ slot: UInt32) -> UInt64 {
        area.load(UInt64.self, at: offset(slot) + Field.sequence)
    }

    func submission(_ slot: UInt32) -> UInt16 {
        area.load(UInt16.self, at: offset(slot) + Field.submissionQueue)
    }

    func fusedStage(_ slot: UInt32) -> FusedStage {
        FusedStage(rawValue: area.loadAcquire8(at: offset(slot) + Field.stage)) ?? .none
    }

    func setFusedStage(_ slot: UInt32, _ stage: FusedStage) {
        area.storeRelease8(stage.rawValue, at: offset(slot) + Field.stage)
    }

    // --- outcomes (`OutcomeRecord`) ---

    /// Notes what becomes of an open admin command once the controller's record reaches `mark`.
    func decide(_ slot: UInt32, _ status: NVMeStatus, result: UInt32, mark: UInt64) {
        let start = offset(slot)
        area.store(result, at: start + Field.result)
        area.store(status.rawValue, at: start + Field.status)
        // Pairs with `outcome` of a successor: the rest is there when the mark is.
        area.storeRelease64(mark, at: start + Field.mark)
    }

    /// Nothing is decided of the slot's command.
    func reopen(_ slot: UInt32) { area.storeRelease64(0, at: offset(slot) + Field.mark) }

    /// Whether something was, which may not count.
    func isDecided(_ slot: UInt32) -> Bool {
        area.loadAcquire64(at: offset(slot) + Field.mark) != 0
    }

    /// What has become of an admin command that its driver has not heard of; nil for one that was
    /// not carried out.
    func outcome(_ slot: UInt32, settled: UInt64) -> (status: NVMeStatus, result: UInt32)? {
        let start = offset(slot)
        let mark = area.loadAcquire64(at: start + Field.mark)
        guard mark > 0, mark <= settled else { return nil }
        return (
            NVMeStatus(rawValue: area.load(UInt16.self, at: start + Field.status)),
            area.load(UInt32.self, at: start + Field.result)
        )
    }

    // --- what a successor finds ---

    func isTaken(_ slot: UInt32) -> Bool { area.loadAcquire8(at: offset(slot) + Field.state) == 1 }

    /// Where the slot's completion was to go; nil before that was known.
    func completion(_ slot: UInt32) -> (index: Int, phase: Bool)? {
        let word = area.loadAcquire32(at: offset(slot) + Field.completion)
        if word & InFlightJournal.isCompleting == 0 { return nil }
        return (Int(word & 0xFFFF), word >> 16 & 1 != 0)
    }

    /// Where the next completion goes; nil for a journal that nobody has used.
    func position() -> (tail: Int, phase: Bool)? {
        if area.loadAcquire32(at: 4) == 0 { return nil }
        let word = area.loadAcquire32(at: 0)
        return (Int(word & 0xFFFF), word >> 16 & 1 != 0)
    }

    /// Makes a fresh journal ready.
    func open() {
        moved(tail: 0, phase: true)
        // Pairs with `position`: the tail is there when the mark is.
        area.storeRelease32(1, at: 4)
    }
}

extension InFlightJournal {
    /// Where a predecessor stopped.
    struct Remains {
        /// Where the next completion goes.
        var tail: Int
        var phase: Bool
        /// Slots to be done again, by submission queue, oldest first.
        var slots: [UInt32]
    }

    /// Puts the completion queue where its predecessor stopped and closes what it had answered.
    /// - Returns: slots to be done again, by submission queue, oldest first.
    func takeOver(
        _ ring: inout CompletionRing, of memory: NVMeMemory, slotCount: Int
    ) throws(QueueFault) -> [UInt32] {
        let found = ring
        let remains = try takeOver(size: ring.size, of: memory, slotCount: slotCount) { slot in
            guard let place = completion(slot) else { return false }
            return found.isPosted(
                at: place.index, phase: place.phase, submission: submission(slot),
                command: Command(line(slot)).id)
        }
        try ring.resume(tail: remains.tail, phase: remains.phase)
        return remains.slots
    }

    /// Closes what a predecessor had answered on a completion queue of `size` entries.
    /// - Parameter isPosted: whether a slot's completion stands where it was to go; false when that
    ///   is not known.
    func takeOver(
        size: Int, of memory: NVMeMemory, slotCount: Int, isPosted: (UInt32) -> Bool
    ) throws(QueueFault) -> Remains {
        guard var (tail, phase) = position() else {
            open()
            return Remains(tail: 0, phase: true, slots: [])
        }
        var replays: [UInt32] = []
        for slot in 0..<UInt32(NVMeMemory.inFlightLimit) where isTaken(slot) {
            let submission = submission(slot)
            guard Int(slot) < slotCount, Int(submission) < memory.queueCount else { throw .journal }
            if !isConsumed(slot, of: memory) {
                // Its ring still has it.
                ended(slot)
                continue
            }
            if let place = completion(slot), isPosted(slot) {
                if place.index == tail && place.phase == phase {
                    tail += 1
                    if tail == size { (tail, phase) = (0, !phase) }
                    moved(tail: tail, phase: phase)
                }
                ended(slot)
                continue
            }
            replays.append(slot)
        }
        let order = replays.sorted {
            (submission($0), sequence($0)) < (submission($1), sequence($1))
        }
        return Remains(tail: tail, phase: phase, slots: order)
    }

    /// Whether the slot's command has left its ring. Its submission queue is one of the function's.
    func isConsumed(_ slot: UInt32, of memory: NVMeMemory) -> Bool {
        sequence(slot) < memory.consumedCount(of: submission(slot)).loadAcquire64(at: 0)
    }
}
