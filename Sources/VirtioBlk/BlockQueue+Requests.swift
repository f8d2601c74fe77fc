internal import Bdev
internal import Bounded
internal import CWire
internal import Memory

/// From a chain on the ring to a request, and back.
extension BlockQueue {
    /// Takes chains off the ring until the batch is full, the turn is over or nothing is left.
    mutating func fetch() throws(QueueFault) {
        var chain = Chain()
        // A request that is refused leaves the batch as it is, so the turn has a limit of its own.
        while !batch.isFull, turn.received < UInt64(Self.turnLimit) {
            // A drain ends with what a predecessor had taken.
            if replay.isEmpty {
                if phase != .running { return }
                if startPlain() { continue }
            }
            // Reserved before the chain is taken: running out means waiting, never losing.
            guard let slot = freeSlots.take() else { return }
            var run = room.shortRun(of: slot)
            var longRun = Slot.noLongRun
            let isThere: Bool
            do throws(QueueFault) {
                let mark = ring.position
                isThere = try take(&chain, into: run)
                if isThere && chain.flaw == .tooLong {
                    guard let long = try takeLong(&chain, from: mark) else {
                        freeSlots.giveBack(slot)
                        return
                    }
                    run = room.longRun(long)
                    longRun = long
                }
            } catch {
                freeSlots.giveBack(slot)
                throw error
            }
            guard isThere else {
                freeSlots.giveBack(slot)
                return
            }
            let logEntry: UInt16
            do throws(QueueFault) {
                logEntry = try began(chain)
            } catch {
                if longRun != Slot.noLongRun { room.giveBackLong(longRun) }
                freeSlots.giveBack(slot)
                throw error
            }
            turn.received &+= 1
            if isInOrder { _ = arrivals.push(slot) }
            start(chain, slot, in: run, longRun: longRun, logEntry: logEntry)
        }
    }

    /// Logs a chain that was taken; one that a predecessor took is in the log already.
    private mutating func began(_ chain: Chain) throws(QueueFault) -> UInt16 {
        if log != nil { log?.began(chain.id) }
        if !replay.isEmpty {
            let head = replay.next
            replay.advance()
            return head
        }
        if packedLog != nil { return try packedLog?.began(ring.copy) ?? 0 }
        return 0
    }

    /// From the replay list of a predecessor first, then from the ring.
    @inline(__always)
    private mutating func take(
        _ chain: inout Chain, into run: SegmentRun
    ) throws(QueueFault) -> Bool {
        if replay.isEmpty { return try ring.next(&chain, into: run) }
        if packedLog != nil {
            packedLog?.read(replay.next, into: &ring.copy)
            try ring.collectCopy(&chain, into: run)
        } else {
            try ring.collectSplit(head: replay.next, &chain, into: run)
        }
        return true
    }

    /// Takes the chain at `mark` again, into a long run. Nil when all long runs are in use: the
    /// chain stays on the ring.
    @inline(never)
    private mutating func takeLong(
        _ chain: inout Chain, from mark: VirtqueuePosition
    ) throws(QueueFault) -> UInt32? {
        ring.rewind(to: mark)
        guard let long = room.takeLong() else { return nil }
        do throws(QueueFault) {
            // The driver may have taken it back meanwhile; then there is nothing to serve.
            guard try take(&chain, into: room.longRun(long)) else {
                room.giveBackLong(long)
                return nil
            }
            return long
        } catch {
            room.giveBackLong(long)
            throw error
        }
    }

    @inline(__always)
    private mutating func start(
        _ chain: Chain, _ slot: UInt32, in run: SegmentRun, longRun: UInt32, logEntry: UInt16
    ) {
        guard chain.flaw == .none, let parts = RequestParts.split(chain, in: run) else {
            return refuse(chain, slot, in: run, longRun: longRun, logEntry: logEntry)
        }
        var entry = Slot(
            id: chain.id, descriptorCount: chain.descriptorCount, status: parts.status,
            longRun: longRun)
        entry.logEntry = logEntry
        switch parser.parse(parts) {
        case .transfer(let operation, let block, let blockCount, let segments):
            switch operation {
            case .read:
                turn.reads &+= 1
                turn.bytesMoved &+= UInt64(parts.inputByteCount)
                entry.written = UInt32(truncatingIfNeeded: parts.inputByteCount)
                entry.input = segments
            case .write:
                turn.writes &+= 1
                turn.bytesMoved &+= UInt64(parts.outputByteCount)
            case .flush: turn.flushes &+= 1
            case .unmap, .writeZeroes: turn.others &+= 1
            }
            slots[Int(slot)] = entry
            batch.append(
                BlockRequest(
                    operation, tag: slot, block: block, blockCount: blockCount, segments: segments))
        case .identify(let target):
            turn.others &+= 1
            entry.written = identify(into: target)
            entry.input = target
            slots[Int(slot)] = entry
            finish(slot, status: UInt8(VIRTIO_BLK_STATUS_OK))
        case .settled(let status):
            if status != UInt8(VIRTIO_BLK_STATUS_OK) {
                turn.refusals &+= 1
            } else if parts.header.type == VIRTIO_BLK_FLUSH {
                turn.flushes &+= 1
            } else {
                turn.others &+= 1
            }
            slots[Int(slot)] = entry
            finish(slot, status: status)
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
    @inline(never)
    private mutating func refuse(
        _ chain: Chain, _ slot: UInt32, in run: SegmentRun, longRun: UInt32, logEntry: UInt16
    ) {
        turn.refusals &+= 1
        let stored = chain.flaw == .tooLong ? run.limit : chain.segmentCount
        let last = run.arena[run.start &+ max(0, stored &- 1)]
        let hasStatus = chain.endsWritable && stored > 0 && last.byteCount > 0
        slots[Int(slot)] = Slot(
            id: chain.id, descriptorCount: chain.descriptorCount,
            status: hasStatus
                ? last.part(at: last.byteCount &- 1, byteCount: 1) : HostSegment.empty,
            longRun: longRun)
        slots[Int(slot)].logEntry = logEntry
        finish(slot, status: UInt8(VIRTIO_BLK_STATUS_IOERR))
    }

    /// A request has ended.
    @inline(__always)
    mutating func finish(_ slot: UInt32, status: UInt8) {
        if isInOrder { finishInOrder(slot, status: status) } else { answer(slot, status: status) }
    }

    @inline(never)
    private mutating func finishInOrder(_ slot: UInt32, status: UInt8) {
        slots[Int(slot)].isFinished = true
        slots[Int(slot)].outcome = status
        while let first = arrivals.first, slots[Int(first)].isFinished {
            _ = arrivals.pop()
            answer(first, status: slots[Int(first)].outcome)
        }
    }

    /// Puts the answer on the used ring, unless the driver has taken its memory back.
    @inline(__always)
    private mutating func answer(_ slot: UInt32, status: UInt8) {
        let entry = slots[Int(slot)]
        if phase.answers {
            var written: UInt32 = 0
            if entry.status.byteCount == 1 {
                entry.status.store(status)
                written = status == UInt8(VIRTIO_BLK_STATUS_OK) ? entry.written &+ 1 : 1
            }
            // Pairs with a successor's look at the in-flight log: marked before it is over.
            if dirty != nil { markAnswer(entry, hasStatus: true) }
            if log != nil { log?.ending(entry.id) }
            if packedLog != nil {
                packedLog?.ending(
                    entry.logEntry, usedAfter: ring.positionAfterUse(entry.descriptorCount))
            }
            ring.use(id: entry.id, descriptorCount: entry.descriptorCount, written: written)
            if packedLog != nil { packedLog?.ended(entry.logEntry, at: ring.position) }
        } else if dirty != nil {
            // Nobody hears of it, but its data may be there.
            markAnswer(entry, hasStatus: false)
        }
        if entry.longRun != Slot.noLongRun { room.giveBackLong(entry.longRun) }
        freeSlots.giveBack(slot)
        turn.completed &+= 1
    }
}
