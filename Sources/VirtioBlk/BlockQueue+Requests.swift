internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// From a chain on the ring to a request, and back.
extension BlockQueue {
    /// Takes chains off the ring until the batch is full or nothing is left.
    mutating func fetch() throws(QueueFault) {
        while !batch.isFull {
            // Reserved before the chain is taken: running out means waiting, never losing.
            guard let slot = freeSlots.take() else { return }
            guard let chain = try nextChain(for: slot) else {
                freeSlots.giveBack(slot)
                return
            }
            turn.received &+= 1
            if log != nil { log?.began(chain.id) }
            if isInOrder { _ = arrivals.push(slot) }
            start(chain, slot)
        }
    }

    /// The next chain, its segments in the short run of `slot` or, when they are many, a long one.
    private mutating func nextChain(for slot: UInt32) throws(QueueFault) -> Chain? {
        let mark = ring.position
        let start = room.shortStart(slot)
        do {
            guard let chain = try take(at: start, limit: SegmentRoom.shortLength) else {
                return nil
            }
            slots[Int(slot)].longRun = Slot.noLongRun
            guard chain.flaw == .tooLong else { return chain }
            ring.rewind(to: mark)
            guard let run = room.takeLong() else { return nil }
            slots[Int(slot)].longRun = run
            return try take(at: room.longStart(run), limit: room.longLength)
        } catch {
            freeSlots.giveBack(slot)
            throw error
        }
    }

    /// From the replay list of a predecessor first, then from the ring.
    private mutating func take(at start: Int, limit: Int) throws(QueueFault) -> Chain? {
        if let head = replay.next {
            let chain = try ring.collectSplit(head: head, into: room.arena, at: start, limit: limit)
            if chain.flaw != .tooLong || limit == room.longLength { replay.advance() }
            return chain
        }
        return try ring.next(into: room.arena, at: start, limit: limit)
    }

    private func segmentStart(_ slot: UInt32) -> Int {
        let run = slots[Int(slot)].longRun
        return run == Slot.noLongRun ? room.shortStart(slot) : room.longStart(run)
    }

    private mutating func start(_ chain: Chain, _ slot: UInt32) {
        slots[Int(slot)].chain = chain
        slots[Int(slot)].written = 0
        slots[Int(slot)].isFinished = false
        let start = segmentStart(slot)
        guard chain.flaw == .none,
            let parts = RequestParts.split(chain, in: room.arena, at: start)
        else { return refuse(chain, slot, at: start) }
        slots[Int(slot)].status = parts.status
        switch parser.parse(parts) {
        case .transfer(let operation, let block, let blockCount, let segments):
            if operation == .read { slots[Int(slot)].written = UInt32(segments.byteCount) }
            count(operation, segments)
            batch.append(
                BlockRequest(
                    operation, tag: slot, block: block, blockCount: blockCount, segments: segments))
        case .identify(let target):
            turn.others &+= 1
            slots[Int(slot)].written = identify(into: target)
            finish(slot, status: UInt8(VIRTIO_BLK_STATUS_OK))
        case .refused(let status):
            turn.refusals &+= 1
            finish(slot, status: status)
        }
    }

    private mutating func count(_ operation: BlockOperation, _ segments: SegmentList) {
        switch operation {
        case .read:
            turn.reads &+= 1
            turn.bytesDirect &+= UInt64(segments.byteCount)
        case .write:
            turn.writes &+= 1
            turn.bytesDirect &+= UInt64(segments.byteCount)
        case .flush: turn.flushes &+= 1
        case .unmap, .writeZeroes: turn.others &+= 1
        }
    }

    /// Copies the serial, padded with zeros to at most 20 bytes (Virtio 1.2 §5.2.6).
    private func identify(into target: SegmentList) -> UInt32 {
        var written = 0
        for index in 0..<target.count {
            let segment = target[index]
            var offset = 0
            while offset < segment.byteCount, written < VIRTIO_BLK_ID_BYTES {
                let byte = written < identifier.count ? identifier[written] : 0
                segment.store(byte, at: offset)
                offset &+= 1
                written &+= 1
            }
        }
        return UInt32(written)
    }

    /// A chain that cannot be a request: an error status where one can go, else just returned.
    private mutating func refuse(_ chain: Chain, _ slot: UInt32, at start: Int) {
        turn.refusals &+= 1
        let limit =
            slots[Int(slot)].longRun == Slot.noLongRun
            ? SegmentRoom.shortLength : room.longLength
        let stored = chain.flaw == .tooLong ? limit : chain.segmentCount
        guard chain.endsWritable, stored > 0 else {
            slots[Int(slot)].status = room.arena[start].part(at: 0, byteCount: 0)
            return finish(slot, status: UInt8(VIRTIO_BLK_STATUS_IOERR))
        }
        let last = room.arena[start &+ stored &- 1]
        slots[Int(slot)].status = last.part(at: last.byteCount &- 1, byteCount: 1)
        finish(slot, status: UInt8(VIRTIO_BLK_STATUS_IOERR))
    }

    /// A request has ended.
    mutating func finish(_ slot: UInt32, status: UInt8) {
        guard isInOrder else { return answer(slot, status: status) }
        slots[Int(slot)].isFinished = true
        slots[Int(slot)].outcome = status
        while let first = arrivals.first, slots[Int(first)].isFinished {
            _ = arrivals.pop()
            answer(first, status: slots[Int(first)].outcome)
        }
    }

    /// Puts the answer on the used ring, unless the driver has taken its memory back.
    private mutating func answer(_ slot: UInt32, status: UInt8) {
        let entry = slots[Int(slot)]
        if phase.answers {
            var written: UInt32 = 0
            if entry.status.byteCount == 1 {
                entry.status.store(status)
                written = 1
                if status == UInt8(VIRTIO_BLK_STATUS_OK) { written &+= entry.written }
            }
            if log != nil { log?.ending(entry.chain.id) }
            ring.use(
                id: entry.chain.id, descriptorCount: entry.chain.descriptorCount, written: written)
        }
        if entry.longRun != Slot.noLongRun { room.giveBackLong(entry.longRun) }
        freeSlots.giveBack(slot)
        turn.completed &+= 1
    }
}
