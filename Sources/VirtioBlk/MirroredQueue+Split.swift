internal import Bounded
internal import CWire
internal import Memory

/// What a mirrored queue does only with split rings (Virtio 1.2 §2.7).
extension MirroredQueue {
    // --- fetching ---

    /// Reads what the index says is new.
    /// - Returns: false when there is nothing.
    func readSplitNews() throws(QueueFault) -> Bool {
        let count = Int(reads.known &- position.nextAvailable)
        if count == 0 { return false }
        guard count <= setup.size else { throw .availableIndex }
        readEntries(upTo: reads.known)
        return true
    }

    /// What lies before an index that is known is there: the driver wrote it first (§2.7.13.1).
    func readEntries(upTo end: UInt16) {
        reads.ready = end
        let mask = setup.size &- 1
        let start = Int(position.nextAvailable) & mask
        let count = Int(end &- position.nextAvailable)
        let first = min(count, setup.size &- start)
        for (start, count) in [(start, first), (0, count &- first)] where count > 0 {
            reads.pendingEntries &+= 1
            add(
                .read, MirrorTag(.entries), cells.entries(start, count),
                areas.availableEntry(start))
        }
        readTable()
    }

    func writeSplitWish() {
        if setup.usesEventIndex {
            cells.event.store(position.nextAvailable)
            add(
                .write, MirrorTag(.other), cells.event.part(at: 0, byteCount: 2),
                areas.availableEvent)
        } else {
            add(.write, MirrorTag(.other), cells.zero, areas.device)
        }
    }

    /// Takes the next chain of the ring.
    /// - Returns: false when it has to wait there.
    func takeSplit() throws(QueueFault) -> Bool {
        let head = cells.head(at: Int(position.nextAvailable) & (setup.size &- 1))
        guard Int(head) < setup.size else { throw .descriptorIndex }
        guard try begin(head, isMarked: false) else { return false }
        position.nextAvailable &+= 1
        return true
    }

    /// The direct descriptors of a chain.
    /// - Returns: its indirect table, if it has one.
    func walkRing(
        _ head: UInt16, _ chain: inout RemoteChain
    ) throws(QueueFault) -> (address: UInt64, byteCount: Int)? {
        guard let table = SharedTable(cells.table) else { throw .misaligned }
        var index = Int(head)
        var seen = 0
        while true {
            guard let entry = RingDescriptor(table.entry(at: index)) else {
                throw .descriptorIndex
            }
            guard seen < setup.size else { throw .endlessChain }
            let flags = entry.splitFlags
            if flags & VIRTIO_DESC_INDIRECT != 0 {
                guard flags & VIRTIO_DESC_NEXT == 0 else { throw .indirectTable }
                return try indirectTable(entry)
            }
            seen &+= 1
            add(entry, isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &chain)
            if flags & VIRTIO_DESC_NEXT == 0 { return nil }
            index = entry.next
        }
    }

    // --- answering ---

    /// The used entries, then the index that shows them (Virtio 1.2 §2.7.14).
    func writeSplitUsed() {
        let mask = setup.size &- 1
        let start = Int(position.nextUsed) & mask
        for index in 0..<answers.list.count {
            let slot = slots[Int(answers.list[index])]
            cells.setUsed(Int(position.nextUsed) & mask, head: slot.id, written: slot.written)
            position.nextUsed &+= 1
        }
        let count = answers.list.count
        let first = min(count, setup.size &- start)
        add(.write, MirrorTag(.answer), cells.used(start, first), areas.usedEntry(start))
        if count > first {
            add(.write, MirrorTag(.answer), cells.used(0, count &- first), areas.usedEntry(0))
        }
        cells.usedIndex.store(position.nextUsed)
        add(.write, MirrorTag(.answer), cells.usedIndex, areas.usedIndex)
    }
}
