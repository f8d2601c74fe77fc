internal import Bounded
internal import CWire
internal import Memory

/// How far a mirrored queue has come with reading the host's ring.
struct FetchState {
    /// Whether the driver's kicks are asked for.
    enum Wish {
        /// The index is read again and again.
        case polling
        case shallAsk
        /// The driver has been asked; one more look follows.
        case asking
        case asleep
    }

    var wish = Wish.polling
    var isKicked = false
    var isIndexUnderWay = false
    /// Split: available index as last read.
    var known: UInt16 = 0
    /// Split: entries before it are in the copy.
    var ready: UInt16 = 0
    /// Reads of entries and table under way: the copy is not to be used.
    var pendingEntries = 0
    var emptyLooks = 0
}

/// From the host's ring to requests in the staging area.
extension MirroredQueue {
    func fetch() throws(QueueFault) {
        if !unstaged.isEmpty { try goOn() }
        if reads.pendingEntries == 0 {
            try takeChains()
            if phase == .running, replay.isEmpty, !isChainReady { try look() }
        }
        offerArrivals()
    }

    /// Whether the copy holds a chain that may be taken.
    private var isChainReady: Bool {
        setup.isPacked ? isPackedChainReady : reads.ready != position.nextAvailable
    }

    /// Reads what is new, or looks whether something is.
    private func look() throws(QueueFault) {
        if reads.isIndexUnderWay || batch.room < 4 { return }
        if setup.isPacked {
            if readPackedNews() { return }
        } else if try readSplitNews() {
            return
        }
        switch reads.wish {
        case .polling: readIndex()
        case .shallAsk:
            askForKicks()
            reads.wish = .asking
            readIndex()
        case .asking: break
        case .asleep:
            guard reads.isKicked else { return }
            reads.wish = .polling
            reads.emptyLooks = 0
            readIndex()
        }
    }

    /// Reads the available index; of a packed ring the next descriptor.
    private func readIndex() {
        // A kick before this read is answered by it.
        reads.isKicked = false
        reads.isIndexUnderWay = true
        let next = Int(position.nextAvailable)
        if setup.isPacked {
            add(.read, MirrorTag(.index), cells.descriptor(next), areas.descriptor(next))
        } else {
            add(.read, MirrorTag(.index), cells.index, areas.driver)
        }
    }

    /// What was looked at has come.
    func indexIsThere() {
        reads.isIndexUnderWay = false
        if !setup.isPacked { reads.known = cells.availableIndex }
        if setup.isPacked ? isHeadAvailable : reads.known != position.nextAvailable {
            reads.emptyLooks = 0
            reads.wish = .polling
            return
        }
        reads.emptyLooks &+= 1
        if reads.wish == .asking {
            reads.wish = .asleep
        } else if reads.emptyLooks >= Self.idleLookLimit {
            reads.wish = .shallAsk
        }
    }

    /// Pairs with the driver's fence between its store and its read of our wish (§2.7.13.3,
    /// §2.8.21.3): the look that follows this write sees the chain, or the driver sees the wish.
    private func askForKicks() {
        if setup.isPacked {
            writePackedWish()
        } else {
            writeSplitWish()
        }
    }

    func readTable() {
        reads.pendingEntries &+= 1
        add(.read, MirrorTag(.entries), cells.table.segment, areas.descriptors)
    }

    // --- chains ---

    private func takeChains() throws(QueueFault) {
        while batch.room > 4 {
            // A drain ends with what a predecessor had taken.
            if !replay.isEmpty {
                if setup.isPacked { copyLogged(replay.next) }
                guard try begin(replay.next, isMarked: true) else { return }
                replay.advance()
            } else if phase == .running, isChainReady {
                guard try setup.isPacked ? takePacked() : takeSplit() else { return }
            } else {
                return
            }
        }
    }

    /// Takes a chain whose descriptors have been read.
    /// - Parameters:
    ///   - head: of a split ring, or of the log.
    ///   - isMarked: whether the log has it.
    /// - Returns: false when it has to wait, on the ring.
    func begin(_ head: UInt16, isMarked: Bool) throws(QueueFault) -> Bool {
        guard let number = freeSlots.take() else { return false }
        var slot = MirrorSlot()
        slot.chain = pieces.shortRun(of: number)
        var table: (address: UInt64, byteCount: Int)?
        do throws(QueueFault) {
            table = try walk(head, &slot.chain)
            // A piece may lie in two regions.
            let most = slot.chain.count + 2 * (table?.byteCount ?? 0) / 16
            if slot.chain.flaw == .tooLong || table != nil && most > slot.chain.limit {
                guard let long = pieces.takeLong() else {
                    freeSlots.giveBack(number)
                    return false
                }
                slot.longRun = long
                slot.chain = pieces.longRun(long)
                table = try walk(head, &slot.chain)
            }
            if let table, try !readTable(table, &slot, number) {
                giveBack(slot, number)
                return false
            }
        } catch {
            giveBack(slot, number)
            throw error
        }
        slot.id = setup.isPacked ? slot.chain.id : head
        slot.isMarked = isMarked
        slot.sequence = nextSequence
        nextSequence &+= 1
        if setup.isPacked { try record(&slot, number, at: isMarked ? head : nil) }
        _ = arrivals.push(number)
        slots[Int(number)] = slot
        if table != nil || !unstaged.isEmpty || !stagePayload(number) {
            _ = unstaged.push(number)
        }
        return true
    }

    private func giveBack(_ slot: MirrorSlot, _ number: UInt32) {
        if slot.longRun != PieceRoom.none { pieces.giveBackLong(slot.longRun) }
        freeSlots.giveBack(number)
    }

    /// - Returns: false when no chunk is free for it.
    private func readTable(
        _ table: (address: UInt64, byteCount: Int), _ slot: inout MirrorSlot, _ number: UInt32
    ) throws(QueueFault) -> Bool {
        guard let run = place.memory.run(at: table.address, byteCount: table.byteCount),
            run.byteCount == table.byteCount
        else { throw .indirectTable }
        guard let chunk = staging.takeChunk() else { return false }
        slot.step = .table
        slot.tableChunk = chunk
        slot.tableCount = table.byteCount / 16
        add(
            .read, MirrorTag(.table, number),
            staging.segment(ofChunk: chunk).part(at: 0, byteCount: table.byteCount), run.place)
        return true
    }

    /// Takes slots on whose tables have come, or that wait for chunks: in their order, so that no
    /// younger one holds what an older one waits for.
    private func goOn() throws(QueueFault) {
        for number in 0..<slots.count
        where freeSlots.isTaken(UInt32(number)) && slots[number].step == .walking {
            try walkTable(number)
        }
        while let first = unstaged.first, slots[Int(first)].step == .known, stagePayload(first) {
            _ = unstaged.pop()
        }
    }

    // --- walking ---

    /// The direct descriptors of a chain.
    /// - Returns: its indirect table, if it has one.
    private func walk(
        _ head: UInt16, _ chain: inout RemoteChain
    ) throws(QueueFault) -> (address: UInt64, byteCount: Int)? {
        setup.isPacked ? try walkCopy(&chain) : try walkRing(head, &chain)
    }

    /// The table that a descriptor stands for.
    func indirectTable(
        _ entry: RingDescriptor
    ) throws(QueueFault) -> (address: UInt64, byteCount: Int) {
        guard setup.allowsIndirect, entry.length > 0, entry.length % 16 == 0,
            entry.length / 16 <= UInt32(Virtqueue.indirectLimit)
        else { throw .indirectTable }
        return (entry.address, Int(entry.length))
    }

    /// The rest of a chain, in the table that has been read.
    private func walkTable(_ number: Int) throws(QueueFault) {
        let chunk = slots[number].tableChunk
        let count = slots[number].tableCount
        let bytes = staging.bytes(ofChunk: chunk).part(at: 0, byteCount: 16 &* count)
        guard let table = SharedTable(bytes) else { throw .misaligned }
        var index = 0
        var seen = 0
        while true {
            guard let entry = RingDescriptor(table.entry(at: index)) else {
                throw .descriptorIndex
            }
            guard seen < count else { throw .endlessChain }
            let flags = setup.isPacked ? entry.packedFlags : entry.splitFlags
            // Of a packed ring only the write flag counts (§2.8.7).
            if !setup.isPacked, flags & VIRTIO_DESC_INDIRECT != 0 { throw .indirectTable }
            seen &+= 1
            add(entry, isWritable: flags & VIRTIO_DESC_WRITE != 0, to: &slots[number].chain)
            if setup.isPacked ? seen == count : flags & VIRTIO_DESC_NEXT == 0 { break }
            index = setup.isPacked ? seen : entry.next
        }
        staging.giveBack(chunk: chunk)
        slots[number].tableChunk = PieceRoom.none
        slots[number].step = .known
    }

    /// Adds the memory of one descriptor: several pieces when it crosses regions.
    func add(
        _ entry: RingDescriptor, isWritable: Bool, to chain: inout RemoteChain
    ) {
        chain.endsWritable = false
        var address = entry.address
        var left = Int(entry.length)
        repeat {
            guard let run = place.memory.run(at: address, byteCount: left) else {
                chain.flaw = .unreachable
                return
            }
            let piece = RemotePiece(place: run.place, byteCount: run.byteCount)
            if chain.count == chain.limit {
                // The last place is kept for the latest piece: it may hold the status byte.
                chain.flaw = .tooLong
                pieces[chain.start &+ chain.limit &- 1] = piece
            } else {
                pieces[chain.start &+ chain.count] = piece
                if isWritable {
                    chain.writableCount &+= 1
                    chain.writableBytes &+= run.byteCount
                } else {
                    if chain.writableCount > 0 { chain.flaw = .misordered }
                    chain.readableCount &+= 1
                    chain.readableBytes &+= run.byteCount
                }
            }
            address &+= UInt64(run.byteCount)
            left &-= run.byteCount
        } while left > 0
        chain.endsWritable = isWritable
    }
}
