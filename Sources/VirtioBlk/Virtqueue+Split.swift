internal import CWire
internal import Memory

/// Split virtqueues (Virtio 1.2 §2.7).
extension Virtqueue {
    private static let ringOffset = 4  // flags and index come before the entries

    mutating func hasSplitWork() -> Bool {
        if knownAvailable != position.nextAvailable { return true }
        // Pairs with the driver's store of the index after its entries (§2.7.13.1).
        knownAvailable = driverArea.loadAcquire16(at: 2)
        return knownAvailable != position.nextAvailable
    }

    mutating func nextSplit(
        into arena: borrowing SegmentArena, at start: Int, limit: Int
    ) throws(QueueFault) -> Chain? {
        guard hasSplitWork() else { return nil }
        guard Int(knownAvailable &- position.nextAvailable) <= size else { throw .availableIndex }
        let entry = Int(position.nextAvailable) & (size &- 1)
        let head = driverArea.loadRelaxed16(at: Virtqueue.ringOffset &+ 2 &* entry)
        guard Int(head) < size else { throw .descriptorIndex }
        let chain = try collectSplit(head: head, into: arena, at: start, limit: limit)
        position.nextAvailable &+= 1
        return chain
    }

    func collectSplit(
        head: UInt16, into arena: borrowing SegmentArena, at start: Int, limit: Int
    ) throws(QueueFault) -> Chain {
        var collector = ChainCollector(start: start, limit: limit)
        collector.chain.id = head
        collector.chain.descriptorCount = 1
        var table = descriptors
        var entries = size
        var index = Int(head)
        var seen = 0
        var isIndirect = false
        while true {
            guard index < entries else { throw .descriptorIndex }
            guard seen < entries else { throw .endlessChain }
            // The driver may still change it: this copy is what counts.
            let descriptor = table.load(virtio_split_descriptor.self, at: 16 &* index)
            seen &+= 1
            if Int(descriptor.flags) & VIRTIO_DESC_INDIRECT != 0 {
                guard !isIndirect, Int(descriptor.flags) & VIRTIO_DESC_NEXT == 0 else {
                    throw .indirectTable
                }
                table = try indirectTable(address: descriptor.address, length: descriptor.length)
                entries = table.byteCount / 16
                isIndirect = true
                index = 0
                seen = 0
                continue
            }
            collector.add(
                address: descriptor.address, length: descriptor.length,
                isWritable: Int(descriptor.flags) & VIRTIO_DESC_WRITE != 0, memory: memory,
                arena: arena)
            if Int(descriptor.flags) & VIRTIO_DESC_NEXT == 0 { return collector.chain }
            index = Int(descriptor.next)
        }
    }

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
