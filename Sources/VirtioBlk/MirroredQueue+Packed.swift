internal import Bounded
internal import CWire
internal import Memory

/// What a mirrored queue does only with packed rings (Virtio 1.2 §2.8).
extension MirroredQueue {
    // --- fetching ---

    /// Whether the copy shows the next descriptor as the device's.
    var isHeadAvailable: Bool {
        PackedRing.isAvailable(
            cells.flags(Int(position.nextAvailable)), wrap: position.availableWrap)
    }

    /// Whether the next chain is whole in the copy: its head was available before the copy was
    /// read. The driver writes the head's flags last (§2.8.21.1), but a read looks at its bytes in
    /// any order.
    var isPackedChainReady: Bool {
        isHeadAvailable
            && PackedRing.isAvailable(
                seenFlags[Int(position.nextAvailable)], wrap: position.availableWrap)
    }

    /// Reads the ring again when the copy shows a head that was not there before it.
    /// - Returns: false when it shows none.
    func readPackedNews() -> Bool {
        guard isHeadAvailable else { return false }
        for index in 0..<setup.size { seenFlags[index] = cells.flags(index) }
        readTable()
        return true
    }

    func writePackedWish() {
        cells.event.store(position.availableEvent)
        cells.event.store(
            UInt16(setup.usesEventIndex ? VIRTIO_EVENT_DESC : VIRTIO_EVENT_ENABLE), at: 2)
        add(.write, MirrorTag(.other), cells.event, areas.device)
    }

    /// Takes the next chain of the ring.
    /// - Returns: false when it has to wait there.
    func takePacked() throws(QueueFault) -> Bool {
        let end = try copyChain()
        if let log = packedLog?.hasRoom(for: chainCopy.count), !log { throw .availableIndex }
        guard batch.room > chainCopy.count &+ 8, try begin(0, isMarked: false) else { return false }
        position.take(upTo: end)
        return true
    }

    /// - Returns: where the ring goes on after it.
    private func copyChain() throws(QueueFault) -> Int {
        guard let table = SharedTable(cells.table) else { throw .misaligned }
        chainCopy.removeAll()
        var index = Int(position.nextAvailable)
        while true {
            guard chainCopy.count < setup.size else { throw .endlessChain }
            guard let words = table.entry(at: index) else { throw .descriptorIndex }
            chainCopy.append(words.low, words.high)
            index = index &+ 1 == setup.size ? 0 : index &+ 1
            if Int(words.high &>> 48) & VIRTIO_DESC_NEXT == 0 { return index }
        }
    }

    /// The direct descriptors of the chain that was copied last.
    /// - Returns: its indirect table, if it has one.
    func walkCopy(
        _ chain: inout RemoteChain
    ) throws(QueueFault) -> (address: UInt64, byteCount: Int)? {
        var table: (address: UInt64, byteCount: Int)?
        for index in 0..<chainCopy.count {
            guard let entry = RingDescriptor(chainCopy[index]) else { break }
            chain.id = entry.id
            let flags = entry.packedFlags
            if flags & VIRTIO_DESC_INDIRECT != 0 {
                guard chainCopy.count == 1 else { throw .indirectTable }
                table = try indirectTable(entry)
            } else {
                add(entry, isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &chain)
            }
        }
        // The id of the last descriptor counts (§2.8.6).
        guard Int(chain.id) < setup.size else { throw .descriptorIndex }
        return table
    }

    // --- answering ---

    /// What one answer writes beside its data: to the ring 2, to the log 6.
    static let packedAnswerLimit = 8

    /// One used descriptor: its flags show it, so they come last (§2.8.22).
    func writePackedUsed(_ number: UInt32) {
        let slot = slots[Int(number)]
        let index = Int(position.nextUsed)
        cells.setUsed(
            index, id: slot.id, written: slot.written,
            flags: PackedRing.usedFlags(wrap: position.usedWrap))
        position = position.afterUse(of: slot.descriptorCount, size: setup.size)
        recordEnding(slot, number)
        let cell = cells.used(index, 1)
        let target = areas.descriptor(index).advanced(by: 8)
        add(.write, MirrorTag(.answer), cell.part(at: 0, byteCount: 6), target)
        add(
            .write, MirrorTag(.answer), cell.part(at: 6, byteCount: 2), target.advanced(by: 6))
        recordEnded(slot, number)
    }
}
