internal import CWire
internal import Memory

/// Split virtqueues (Virtio 1.2 §2.7).
extension Virtqueue {
    private static let ringOffset = 4  // flags and index come before the entries

    @inline(__always)
    mutating func hasSplitWork() -> Bool {
        if knownAvailable != position.nextAvailable { return true }
        // Pairs with the driver's store of the index after its entries (§2.7.13.1).
        knownAvailable = driverArea.loadAcquire16(at: 2)
        return knownAvailable != position.nextAvailable
    }

    @inline(__always)
    mutating func nextSplit(_ chain: inout Chain, into run: SegmentRun) throws(QueueFault) -> Bool {
        guard hasSplitWork() else { return false }
        guard Int(knownAvailable &- position.nextAvailable) <= size else { throw .availableIndex }
        let entry = Int(position.nextAvailable) & (size &- 1)
        let head = driverArea.loadRelaxed16(at: Virtqueue.ringOffset &+ 2 &* entry)
        guard Int(head) < size else { throw .descriptorIndex }
        try collectSplit(head: head, &chain, into: run)
        position.nextAvailable &+= 1
        return true
    }

    @inline(__always)
    mutating func collectSplit(
        head: UInt16, _ chain: inout Chain, into run: SegmentRun
    ) throws(QueueFault) {
        chain = Chain()
        chain.id = head
        chain.descriptorCount = 1
        var index = Int(head)
        var seen = 0
        while true {
            guard let descriptor = RingDescriptor(table.entry(at: index)) else {
                throw .descriptorIndex
            }
            guard seen < size else { throw .endlessChain }
            let flags = descriptor.splitFlags
            if flags & VIRTIO_DESC_INDIRECT != 0 {
                return try collectIndirect(descriptor, &chain, into: run)
            }
            seen &+= 1
            add(
                address: descriptor.address, length: descriptor.length,
                isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &chain, in: run)
            if flags & VIRTIO_DESC_NEXT == 0 { return }
            index = descriptor.next
        }
    }

    /// The rest of a chain, in a table of its own (§2.7.5.3).
    private mutating func collectIndirect(
        _ descriptor: RingDescriptor, _ chain: inout Chain, into run: SegmentRun
    ) throws(QueueFault) {
        guard descriptor.splitFlags & VIRTIO_DESC_NEXT == 0 else { throw .indirectTable }
        let table = try indirectTable(address: descriptor.address, length: descriptor.length)
        var index = 0
        var seen = 0
        while true {
            guard let entry = RingDescriptor(table.entry(at: index)) else {
                throw .descriptorIndex
            }
            guard seen < table.count else { throw .endlessChain }
            let flags = entry.splitFlags
            if flags & VIRTIO_DESC_INDIRECT != 0 { throw .indirectTable }
            seen &+= 1
            add(
                address: entry.address, length: entry.length,
                isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &chain, in: run)
            if flags & VIRTIO_DESC_NEXT == 0 { return }
            index = entry.next
        }
    }

    @inline(__always)
    mutating func useSplit(id: UInt16, written: UInt32) {
        let entry = Int(position.nextUsed) & (size &- 1)
        deviceArea.store(
            virtio_used_element(id: UInt32(id), length: written),
            at: Virtqueue.ringOffset &+ 8 &* entry)
        position.nextUsed &+= 1
    }

    mutating func publishSplit() -> Bool {
        let old = signalledUsed
        let new = position.nextUsed
        if old == new { return false }
        // Pairs with the driver's read of used.idx before the entries (§2.7.14).
        deviceArea.storeRelease16(new, at: 2)
        signalledUsed = new
        // Pairs with the driver's fence between writing its wish and reading used.idx (§2.7.10).
        fullFence()
        if usesEventIndex {
            let event = driverArea.loadRelaxed16(at: Virtqueue.ringOffset &+ 2 &* size)
            return new &- event &- 1 < new &- old
        }
        return Int(driverArea.loadRelaxed16(at: 0)) & VIRTIO_AVAIL_NO_INTERRUPT == 0
    }

    mutating func enableSplitKicks() {
        if usesEventIndex {
            deviceArea.storeRelease16(
                position.nextAvailable, at: Virtqueue.ringOffset &+ 8 &* size)
        }
        deviceArea.storeRelease16(0, at: 0)
    }

    mutating func disableSplitKicks() {
        // With the event index the flag must stay 0 (§2.7.10); the stale index does the work.
        if !usesEventIndex { deviceArea.storeRelease16(UInt16(VIRTIO_USED_NO_NOTIFY), at: 0) }
    }
}
