internal import CWire
internal import Memory

/// What both data paths know of packed virtqueues (Virtio 1.2 §2.8).
enum PackedRing {
    /// Of the flags in a descriptor.
    static let flagsOffset = 14

    /// Whether a descriptor with these flags is the device's, in the lap of that wrap counter.
    @inline(__always)
    static func isAvailable(_ flags: UInt16, wrap: Bool) -> Bool {
        let available = Int(flags) & VIRTIO_PACKED_AVAIL != 0
        let used = Int(flags) & VIRTIO_PACKED_USED != 0
        return available == wrap && used != wrap
    }

    /// Flags of a descriptor that is used.
    static func usedFlags(wrap: Bool) -> UInt16 {
        wrap ? UInt16(VIRTIO_PACKED_AVAIL | VIRTIO_PACKED_USED) : 0
    }
}

extension VirtqueuePosition {
    /// Packed: where the ring stands once `count` descriptors more are used.
    func afterUse(of count: UInt16, size: Int) -> VirtqueuePosition {
        var after = self
        let next = Int(nextUsed) &+ Int(count)
        if next >= size { after.usedWrap.toggle() }
        after.nextUsed = UInt16(next >= size ? next &- size : next)
        return after
    }

    /// Packed: takes descriptors up to `next`.
    mutating func take(upTo next: Int) {
        if next <= Int(nextAvailable) { availableWrap.toggle() }
        nextAvailable = UInt16(next)
    }

    /// Packed: goes on where a predecessor stopped, with so many descriptors taken and not used.
    mutating func resume(_ standing: PackedInflightLog.Standing, descriptorsTaken: Int, size: Int) {
        nextUsed = standing.usedIndex
        usedWrap = standing.usedWrap
        let next = Int(standing.usedIndex) + descriptorsTaken
        nextAvailable = UInt16(next >= size ? next - size : next)
        availableWrap = next >= size ? !standing.usedWrap : standing.usedWrap
    }

    /// Packed: offset and wrap counter of the next available descriptor, as an event structure has
    /// them (§2.8.10.1).
    var availableEvent: UInt16 { nextAvailable | (availableWrap ? 0x8000 : 0) }
}

/// Packed virtqueues in memory that is mapped.
extension Virtqueue {
    func hasPackedWork() -> Bool {
        // Pairs with the driver's store of the head's flags after the rest of the chain (§2.8.21).
        let flags = descriptors.loadAcquire16(
            at: 16 &* Int(position.nextAvailable) &+ PackedRing.flagsOffset)
        return PackedRing.isAvailable(flags, wrap: position.availableWrap)
    }

    mutating func nextPacked(
        _ chain: inout Chain, into run: SegmentRun
    ) throws(QueueFault) -> Bool {
        guard hasPackedWork() else { return false }
        copy.removeAll()
        var index = Int(position.nextAvailable)
        while true {
            guard copy.count < size else { throw .endlessChain }
            guard let words = table.entry(at: index) else { throw .descriptorIndex }
            copy.append(words.low, words.high)
            index = index &+ 1 == size ? 0 : index &+ 1
            let flags = Int(truncatingIfNeeded: words.high &>> 48)
            if flags & VIRTIO_DESC_NEXT == 0 { break }
        }
        try collectCopy(&chain, into: run)
        position.take(upTo: index)
        return true
    }

    /// The chain that `copy` holds.
    mutating func collectCopy(_ chain: inout Chain, into run: SegmentRun) throws(QueueFault) {
        chain = Chain()
        for index in 0..<copy.count {
            guard let descriptor = RingDescriptor(copy[index]) else { break }
            chain.id = descriptor.id
            let flags = descriptor.packedFlags
            if flags & VIRTIO_DESC_INDIRECT != 0 {
                guard copy.count == 1 else { throw .indirectTable }
                try collectIndirect(descriptor, &chain, into: run)
                break
            }
            add(
                address: descriptor.address, length: descriptor.length,
                isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &chain, in: run)
        }
        // The id of the last descriptor counts (Virtio 1.2 §2.8.6).
        guard Int(chain.id) < size else { throw .descriptorIndex }
        chain.descriptorCount = UInt16(copy.count)
    }

    /// Whether the descriptor at `index` is still available under `wrap`.
    func isAvailable(at index: UInt16, wrap: Bool) -> Bool {
        let flags = descriptors.loadAcquire16(at: 16 &* Int(index) &+ PackedRing.flagsOffset)
        return PackedRing.isAvailable(flags, wrap: wrap)
    }

    /// Where the ring stands once another chain of `count` descriptors is used.
    func positionAfterUse(_ count: UInt16) -> VirtqueuePosition {
        position.afterUse(of: count, size: size)
    }

    /// Entries of an indirect table follow one another; only their write flag counts (§2.8.7).
    private mutating func collectIndirect(
        _ descriptor: RingDescriptor, _ chain: inout Chain, into run: SegmentRun
    ) throws(QueueFault) {
        let table = try indirectTable(address: descriptor.address, length: descriptor.length)
        for index in 0..<table.count {
            guard let entry = RingDescriptor(table.entry(at: index)) else { return }
            add(
                address: entry.address, length: entry.length,
                isWritable: entry.packedFlags & VIRTIO_DESC_WRITE != 0, to: &chain, in: run)
        }
    }

    mutating func usePacked(id: UInt16, descriptorCount: UInt16, written: UInt32) {
        let offset = 16 &* Int(position.nextUsed)
        descriptors.store(written, at: offset &+ 8)
        descriptors.store(id, at: offset &+ 12)
        // Pairs with the driver's read of the flags before the rest (§2.8.22).
        descriptors.storeRelease16(
            PackedRing.usedFlags(wrap: position.usedWrap), at: offset &+ PackedRing.flagsOffset)
        position = positionAfterUse(descriptorCount)
        usedSinceDecision &+= Int(descriptorCount)
    }

    mutating func publishPacked() -> Bool {
        if usedSinceDecision == 0 { return false }
        let advanced = usedSinceDecision
        usedSinceDecision = 0
        // Pairs with the driver's fence between its event structure and its look at the ring.
        fullFence()
        let flags = Int(driverArea.loadAcquire16(at: 2))
        if flags == VIRTIO_EVENT_DISABLE { return false }
        guard flags == VIRTIO_EVENT_DESC, usesEventIndex else { return true }
        let event = driverArea.loadRelaxed16(at: 0)
        let eventWrap = event & 0x8000 != 0
        // Distance from the event's place back to where we stand, in ring entries.
        var distance = Int(position.nextUsed) &- Int(event & 0x7FFF)
        if eventWrap != position.usedWrap { distance &+= size }
        return distance > 0 && distance <= advanced
    }

    mutating func enablePackedKicks() {
        if usesEventIndex {
            deviceArea.storeRelease16(position.availableEvent, at: 0)
            deviceArea.storeRelease16(UInt16(VIRTIO_EVENT_DESC), at: 2)
        } else {
            deviceArea.storeRelease16(UInt16(VIRTIO_EVENT_ENABLE), at: 2)
        }
    }

    mutating func disablePackedKicks() {
        deviceArea.storeRelease16(UInt16(VIRTIO_EVENT_DISABLE), at: 2)
    }
}
