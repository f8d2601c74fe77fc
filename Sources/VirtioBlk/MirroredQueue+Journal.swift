internal import Bounded
internal import CWire
internal import Memory

/// What a mirrored queue knows of the in-flight log on the host's side.
struct JournalState {
    var isAsked = false
    var isAdopted = false
    var pendingReads = 0
    /// Heads that the log names.
    var marks = 0
}

/// The in-flight log of a split ring, on the host's side (vhost-user.rst, "Inflight I/O tracking"),
/// written over the same channel as the ring, so in the order that is stated here.
///
/// A successor goes on at the used index plus the number of heads that the log names. So a head has
/// to be in the log only when one that is younger has been answered: a queue that answers in order
/// writes no marks at all. Before the used index moves, every head up to the youngest of those is
/// marked, in the ring's order; heads that the batch answers and that are marked are linked, as the
/// last batch; after the index has moved they are cleared, and the log's index follows.
extension MirroredQueue {
    private static let header = MemoryLayout<vhost_inflight_split_queue>.size
    private static let entry = MemoryLayout<vhost_inflight_split_entry>.size
    private static let lastBatchHead = 12
    private static let noHead = UInt16.max

    private func entry(of head: UInt16, _ log: RemoteAddress) -> RemoteAddress {
        log.advanced(by: Self.header &+ Self.entry &* Int(head))
    }

    // --- answering ---

    /// Before the used index moves.
    func beginLog() {
        guard let log = place.log else { return }
        if let newest = newestToMark() { mark(upTo: newest, in: log) }
        if journal.marks == 0 { return }
        var last = Self.noHead
        for index in 0..<answers.list.count {
            let number = Int(answers.list[index])
            guard slots[number].isMarked else { continue }
            write(number, next: last, to: log)
            last = slots[number].id
        }
        cells.logStart.store(last)
        cells.logStart.store(position.nextUsed, at: 2)
        add(
            .write, MirrorTag(.answer), cells.logStart,
            log.advanced(by: Self.lastBatchHead))
    }

    /// Sequence of the youngest chain that stays under way while a younger one is answered; nil
    /// when there is none.
    private func newestToMark() -> UInt64? {
        var answered: UInt64 = 0
        for index in 0..<answers.list.count {
            answered = max(answered, slots[Int(answers.list[index])].sequence)
        }
        var newest: UInt64?
        for number in 0..<slots.count where freeSlots.isTaken(UInt32(number)) {
            let slot = slots[number]
            if slot.isAnswering || slot.sequence > answered { continue }
            newest = max(newest ?? 0, slot.sequence)
        }
        return newest
    }

    /// Marks every chain up to `newest`, those that are being answered too, the oldest first:
    /// between any two of these writes the log names the first chains after the used index.
    private func mark(upTo newest: UInt64, in log: RemoteAddress) {
        while true {
            var oldest: Int?
            for number in 0..<slots.count where freeSlots.isTaken(UInt32(number)) {
                if slots[number].isMarked || slots[number].sequence > newest { continue }
                if let found = oldest, slots[found].sequence < slots[number].sequence { continue }
                oldest = number
            }
            guard let number = oldest else { return }
            slots[number].isMarked = true
            journal.marks &+= 1
            write(number, next: Self.noHead, to: log)
        }
    }

    private func write(_ number: Int, next: UInt16, to log: RemoteAddress) {
        let cell = cells.mark(number).part(at: 0, byteCount: Self.entry)
        var entry = vhost_inflight_split_entry()
        entry.inflight = 1
        entry.next = next
        entry.counter = slots[number].sequence
        cell.store(entry)
        add(.write, MirrorTag(.answer), cell, self.entry(of: slots[number].id, log))
    }

    /// After the used index has moved.
    func endLog() {
        guard let log = place.log else { return }
        for index in 0..<answers.list.count {
            let number = Int(answers.list[index])
            guard slots[number].isMarked else { continue }
            journal.marks &-= 1
            add(
                .write, MirrorTag(.answer), cells.zero.part(at: 0, byteCount: 1),
                entry(of: slots[number].id, log))
        }
        cells.logEnd.store(Self.noHead)
        cells.logEnd.store(position.nextUsed, at: 2)
        add(.write, MirrorTag(.answer), cells.logEnd, log.advanced(by: Self.lastBatchHead))
    }

    // --- opening ---

    /// Reads what a predecessor has left, then goes on from there.
    func open() {
        if !phase.answers { return }
        if !journal.isAsked {
            journal.isAsked = true
            journal.pendingReads = 1
            if setup.isPacked {
                add(.read, MirrorTag(.opening), cells.table.segment, areas.descriptors)
            } else {
                add(.read, MirrorTag(.opening), cells.usedIndex, areas.usedIndex)
            }
            if let log = place.log {
                journal.pendingReads = 2
                add(.read, MirrorTag(.opening), cells.log.segment, log)
            }
        }
        guard journal.pendingReads == 0 else { return }
        if !journal.isAdopted {
            journal.isAdopted = true
            do throws(QueueFault) { try adopt() } catch { return fail(error) }
        }
        // What a packed ring's log is made of is written from it: it has to stay until then.
        if journal.pendingReads == 0 { stage = .open }
    }

    private func adopt() throws(QueueFault) {
        if place.log != nil, let run = place.run, cells.log.load(UInt64.self, at: 0) != run {
            // Of another life of the ring: its requests mean nothing any more.
            cells.log.segment.fill(with: 0)
            cells.log.store(run, at: 0)
        }
        if setup.isPacked { try adoptPacked() } else { try adoptSplit() }
    }

    private func adoptSplit() throws(QueueFault) {
        if let log = place.log {
            position.nextUsed = cells.usedIndex.load(UInt16.self)
            var opened = try InflightLog(
                area: cells.log, queueSize: setup.size, usedIndex: position.nextUsed)
            if !opened.isFresh {
                let heads = opened.outstanding()
                opened.adopt(heads)
                nextSequence = opened.nextCounter
                replay = Replay(heads: heads)
                journal.marks = heads.count
                position.nextAvailable = position.nextUsed &+ UInt16(heads.count)
            }
            cells.log.store(Self.noHead, at: Self.lastBatchHead)
            add(.write, MirrorTag(.other), cells.log.segment, log)
        }
        reads.known = position.nextAvailable
        reads.ready = position.nextAvailable
        if !replay.isEmpty { readEntries(upTo: position.nextAvailable) }
    }
}
