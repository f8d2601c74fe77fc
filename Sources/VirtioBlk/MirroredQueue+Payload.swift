internal import Bounded
internal import CWire
internal import Memory

/// Headers and data: read into the staging area, and offered to the device model as one request.
extension MirroredQueue {
    private static let chunk = StagingArea.chunkByteCount
    private static var placesPerSlot: Int { dataChunkLimit + 2 }

    private func chunk(_ slot: UInt32, _ index: Int) -> UInt32 {
        chunkTable[Int(slot) &* Self.placesPerSlot &+ index]
    }

    /// Takes chunks for a request's data and begins to read what the driver has put there.
    /// - Returns: false when it has to wait for chunks, or for room in the batch.
    func stagePayload(_ number: UInt32) -> Bool {
        var slot = slots[Int(number)]
        if !fits(&slot) {
            slot.step = .reading
            slots[Int(number)] = slot
            return true
        }
        let data = slot.outputChunks &+ slot.inputChunks
        let isLong = slot.outputChunks > 1 || slot.inputChunks > 1
        guard staging.freeChunkCount >= data &+ (isLong ? 1 : 0),
            batch.room > slot.chain.readableCount &+ slot.outputChunks
        else { return false }
        for index in 0..<data {
            guard let chunk = staging.takeChunk() else { return false }
            chunkTable[Int(number) &* Self.placesPerSlot &+ index] = chunk
        }
        if isLong { slot.tableChunk = staging.takeChunk() ?? PieceRoom.none }
        slot.step = .reading
        slot.pendingReads = readOutput(slot, number)
        slots[Int(number)] = slot
        return true
    }

    /// How many chunks its data takes. False: it cannot be a request that we take.
    private func fits(_ slot: inout MirrorSlot) -> Bool {
        guard slot.chain.isRequest, pieces[slot.chain.last].byteCount > 0 else {
            if slot.chain.flaw == .none { slot.chain.flaw = .misordered }
            return false
        }
        let round = Self.chunk &- 1
        let output = slot.chain.readableBytes &- RemoteChain.headerByteCount
        slot.outputChunks = (output &+ round) / Self.chunk
        slot.inputChunks = (slot.chain.writableBytes &- 1 &+ round) / Self.chunk
        let all = slot.outputChunks &+ slot.inputChunks
        if all <= Self.dataChunkLimit, all < staging.chunkCount { return true }
        slot.chain.flaw = .tooLong
        slot.outputChunks = 0
        slot.inputChunks = 0
        return false
    }

    /// Reads the header into its cell and what follows it into chunks.
    /// - Returns: how many reads there are.
    private func readOutput(_ slot: MirrorSlot, _ number: UInt32) -> Int {
        var count = 0
        var done = 0
        for index in 0..<slot.chain.readableCount {
            let piece = pieces[slot.chain.start &+ index]
            var offset = 0
            while offset < piece.byteCount {
                let target = outputPlace(number, at: done)
                let size = min(piece.byteCount &- offset, target.byteCount)
                add(
                    .read, MirrorTag(.payload, number), target.part(at: 0, byteCount: size),
                    piece.place.advanced(by: offset))
                offset &+= size
                done &+= size
                count &+= 1
            }
        }
        return count
    }

    /// Where byte `offset` of the readable part goes, and what room there is.
    private func outputPlace(_ number: UInt32, at offset: Int) -> HostSegment {
        let header = RemoteChain.headerByteCount
        if offset < header {
            return cells.header(Int(number)).part(at: offset, byteCount: header &- offset)
        }
        let place = offset &- header
        let inChunk = place % Self.chunk
        return staging.segment(ofChunk: chunk(number, place / Self.chunk))
            .part(at: inChunk, byteCount: Self.chunk &- inChunk)
    }

    // --- to the device model ---

    /// Offers what has come, in the order of the host's ring.
    func offerArrivals() {
        while let number = arrivals.first {
            let slot = slots[Int(number)]
            guard slot.step == .reading, slot.pendingReads == 0, slot.pendingRecords == 0 else {
                return
            }
            _ = arrivals.pop()
            slots[Int(number)].step = .offered
            offer(slot, number)
        }
    }

    private func offer(_ slot: MirrorSlot, _ number: UInt32) {
        var list = ModelChain(cells, staging, slot, number)
        if slot.chain.flaw != .none {
            // The device model refuses these by itself: no header, or no place for a status.
            if hasStatus(slot) {
                list.add(cells.statusAddress(Int(number)), 1, isWritable: true, isLast: true)
            } else {
                list.add(cells.headerAddress(Int(number)), 16, isWritable: false, isLast: true)
            }
        } else {
            list.add(cells.headerAddress(Int(number)), 16, isWritable: false)
            let output = slot.chain.readableBytes &- RemoteChain.headerByteCount
            add(output, to: &list, number, from: 0, isWritable: false)
            add(
                slot.chain.writableBytes &- 1, to: &list, number, from: slot.outputChunks,
                isWritable: true)
            list.add(cells.statusAddress(Int(number)), 1, isWritable: true, isLast: true)
        }
        list.finish()
        cells.offer(4 &* Int(number), at: answers.nextOffer)
        answers.nextOffer &+= 1
    }

    private func add(
        _ byteCount: Int, to list: inout ModelChain, _ number: UInt32, from first: Int,
        isWritable: Bool
    ) {
        var left = byteCount
        var index = first
        while left > 0 {
            let size = min(left, Self.chunk)
            list.add(staging.address(ofChunk: chunk(number, index)), size, isWritable: isWritable)
            left &-= size
            index &+= 1
        }
    }

    /// Whether the host's chain ends with a byte for the status.
    func hasStatus(_ slot: MirrorSlot) -> Bool {
        slot.chain.endsWritable && slot.chain.count > 0 && pieces[slot.chain.last].byteCount > 0
    }

    // --- back ---

    /// Writes the first `byteCount` bytes of a request's input to the host.
    /// - Returns: how many transfers there are.
    func writeInput(_ slot: MirrorSlot, _ number: UInt32, byteCount: Int) -> Int {
        var count = 0
        var done = 0
        for index in 0..<slot.chain.writableCount {
            let piece = pieces[slot.chain.start &+ slot.chain.readableCount &+ index]
            var offset = 0
            while offset < piece.byteCount, done < byteCount {
                let inChunk = done % Self.chunk
                let size = min(
                    piece.byteCount &- offset, byteCount &- done, Self.chunk &- inChunk)
                let source = staging.segment(
                    ofChunk: chunk(number, slot.outputChunks &+ done / Self.chunk))
                add(
                    .write, MirrorTag(.answer), source.part(at: inChunk, byteCount: size),
                    piece.place.advanced(by: offset))
                offset &+= size
                done &+= size
                count &+= 1
            }
        }
        return count
    }

    func giveBackChunks(_ number: UInt32) {
        let slot = slots[Int(number)]
        if slot.tableChunk != PieceRoom.none { staging.giveBack(chunk: slot.tableChunk) }
        // Those of a slot that is still waiting for them are not there.
        guard slot.step == .reading || slot.step == .offered else { return }
        for index in 0..<slot.outputChunks &+ slot.inputChunks {
            staging.giveBack(chunk: chunk(number, index))
        }
    }
}

/// A request's chain on the device model's ring: in the slot's four descriptors, or in a table.
private struct ModelChain {
    private let cells: MirrorCells
    private let table: SharedBytes?
    private let tableAddress: UInt64
    private let first: Int
    private var count = 0

    init(_ cells: MirrorCells, _ staging: StagingArea, _ slot: MirrorSlot, _ number: UInt32) {
        self.cells = cells
        first = 4 &* Int(number)
        if slot.tableChunk == PieceRoom.none {
            table = nil
            tableAddress = 0
        } else {
            table = staging.bytes(ofChunk: slot.tableChunk)
            tableAddress = staging.address(ofChunk: slot.tableChunk)
        }
    }

    mutating func add(
        _ address: UInt64, _ length: Int, isWritable: Bool, isLast: Bool = false
    ) {
        let flags = (isWritable ? VIRTIO_DESC_WRITE : 0) | (isLast ? 0 : VIRTIO_DESC_NEXT)
        if let table {
            MirrorCells.store(
                address: address, length: length, flags: flags, next: isLast ? 0 : count &+ 1,
                to: table, at: 16 &* count)
        } else {
            cells.setDescriptor(
                first &+ count, address: address, length: length, flags: flags,
                next: isLast ? 0 : first &+ count &+ 1)
        }
        count &+= 1
    }

    func finish() {
        guard table != nil else { return }
        cells.setDescriptor(
            first, address: tableAddress, length: 16 &* count, flags: VIRTIO_DESC_INDIRECT,
            next: 0)
    }
}
