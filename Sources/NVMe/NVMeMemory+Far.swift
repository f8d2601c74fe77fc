internal import Memory

/// Function memory on another machine: `bytes` are a copy, which is read at adoption and whenever
/// its queues begin anew. The service that holds the lease is the only writer, so the copy is
/// right until a transfer is lost.
///
/// The control plane's stores are listed in `changes`, and carried over before anything that
/// depends on them; those of queues go along with their transfers (`MirroredRings`). Either way
/// they take effect in the order that is stated at each store.
extension NVMeMemory {
    /// What says how the controller is set up: header, controller's record, cells of queues.
    public var recordSpan: Range<Int> { 0..<Layout.journals(queueCount: queueCount) }

    /// The journal of completion queue `id`.
    public func journalSpan(of id: UInt16) -> Range<Int> {
        let start = journalOffset(id)
        return start..<start + Layout.journalHeader + NVMeMemory.inFlightLimit * Layout.slot
    }

    /// How much submission queue `id` has given.
    public func consumedSpan(of id: UInt16) -> Range<Int> {
        let start = consumedOffset(of: id)
        return start..<start + 8
    }

    /// Puts what was read of the other machine's memory in its place.
    public func refresh(_ found: [UInt8], at offset: Int) {
        bytes.part(at: offset, byteCount: found.count).segment.store(bytes: found)
    }

    /// The records have been read anew: changes that had not been carried over are void.
    public func adoptAgain() throws(NVMeMemoryError) {
        changes?.removeAll()
        try adopt()
    }

    /// Lists a store that has just been made.
    func note(_ offset: Int, _ byteCount: Int) {
        guard let changes else { return }
        changes.append(offset, bytes.part(at: offset, byteCount: byteCount).segment.bytes())
    }

    /// Lists what `InFlightJournal.decide` has stored.
    func noteDecision(_ slot: UInt32) {
        let start = journalOffset(0) + Layout.journalHeader + Int(slot) * Layout.slot
        note(start + InFlightJournal.Field.result, 8)
        note(start + InFlightJournal.Field.mark, 8)
    }
}
