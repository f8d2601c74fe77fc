internal import Bounded
internal import Memory

/// Data of commands: its pointers, and the way through the staging area.
extension MirroredRings {
    private static let chunk = StagingArea.chunkByteCount

    /// Gives a command's data chunks, and reads it when it comes from the host. `step` says when
    /// that is done, or why it cannot be.
    func move(_ slot: UInt32, byteCount: Int, toHost: Bool) {
        slots[Int(slot)].byteCount = byteCount
        slots[Int(slot)].goesToHost = toHost
        slots[Int(slot)].step = .pointed
        if !waiting.isEmpty || !proceed(slot) { _ = waiting.push(slot) }
    }

    /// Takes commands on whose lists have come, or that wait for room.
    func goOn() {
        for number in 0..<slots.count
        where slots[number].step == .walking && freeSlots.isTaken(UInt32(number)) {
            walkOn(UInt32(number))
        }
        while let first = cramped.first, let long = pieces.takeLong() {
            slots[Int(first)].longRun = long
            _ = cramped.pop()
            _ = waiting.push(first)
        }
        while let first = waiting.first, proceed(first) { _ = waiting.pop() }
    }

    /// Whether the first that waits need not wait any more.
    var canGoOn: Bool {
        guard let first = waiting.first, batch.isEmpty else { return false }
        return staging.freeChunkCount >= max(1, chunks(slots[Int(first)]))
    }

    /// - Returns: false when it has to wait for chunks, or for room in the batch.
    private func proceed(_ number: UInt32) -> Bool {
        if slots[Int(number)].step == .pointed, !beginWalk(number) { return false }
        return slots[Int(number)].step != .known || stagePayload(number)
    }

    /// The owner can go on with a command.
    func settle(_ number: UInt32, _ step: MirrorSlot.Step) {
        slots[Int(number)].step = step
        let fits = prepared.push(number)
        precondition(fits, "a slot is prepared once")
    }

    private func refuse(_ number: UInt32, _ status: NVMeStatus) {
        slots[Int(number)].status = status
        settle(number, .refused)
    }

    // --- pointers ---

    private func beginWalk(_ number: UInt32) -> Bool {
        // A list may follow: there has to be room for it.
        guard staging.freeChunkCount > 0, batch.room > 4 else { return false }
        var slot = slots[Int(number)]
        slot.run =
            slot.longRun == PieceRoom.none
            ? pieces.shortRun(of: number) : pieces.longRun(slot.longRun)
        let command = Command(journal.line(number))
        do throws(DataFault) {
            try slot.walk.begin(command, byteCount: slot.byteCount) {
                (address, count) throws(DataFault) in
                try addPiece(address, count, to: &slot.run)
            }
        } catch {
            stumble(number, error)
            return true
        }
        slots[Int(number)] = slot
        askForTable(number)
        return true
    }

    private func walkOn(_ number: UInt32) {
        var slot = slots[Int(number)]
        let bytes = staging.segment(ofChunk: slot.tableChunk)
        guard batch.room > 4 else { return }
        do throws(DataFault) {
            try slot.walk.goOn(bytes) { (address, count) throws(DataFault) in
                try addPiece(address, count, to: &slot.run)
            }
        } catch { return stumble(number, error) }
        slots[Int(number)] = slot
        askForTable(number)
        guard slots[Int(number)].step == .known else { return }
        if !waiting.isEmpty || !stagePayload(number) { _ = waiting.push(number) }
    }

    /// Refused, or begun again when a long run is free.
    private func stumble(_ number: UInt32, _ fault: DataFault) {
        giveBackTable(&slots[Int(number)])
        if case .refused(let status) = fault { return refuse(number, status) }
        // Full again: divided by more regions than there is room for.
        if slots[Int(number)].longRun != PieceRoom.none {
            return refuse(number, .dataTransferError)
        }
        slots[Int(number)].step = .pointed
        _ = cramped.push(number)
    }

    /// Reads the list that comes next, if there is one.
    private func askForTable(_ number: UInt32) {
        let walk = slots[Int(number)].walk
        guard walk.tableByteCount > 0 else {
            giveBackTable(&slots[Int(number)])
            slots[Int(number)].step = .known
            return
        }
        guard let place = memory.whole(at: walk.table, byteCount: walk.tableByteCount) else {
            giveBackTable(&slots[Int(number)])
            return refuse(number, .dataTransferError)
        }
        if slots[Int(number)].tableChunk == PieceRoom.none {
            guard let chunk = staging.takeChunk() else {
                preconditionFailure("a chunk was free when the walk began")
            }
            slots[Int(number)].tableChunk = chunk
        }
        slots[Int(number)].step = .table
        let local = staging.segment(ofChunk: slots[Int(number)].tableChunk)
        add(
            .read, MirrorTag(.table, number), local.part(at: 0, byteCount: walk.tableByteCount),
            place)
    }

    private func giveBackTable(_ slot: inout MirrorSlot) {
        if slot.tableChunk != PieceRoom.none { staging.giveBack(chunk: slot.tableChunk) }
        slot.tableChunk = PieceRoom.none
    }

    /// Adds guest memory to a command's pieces: what lies side by side becomes one.
    private func addPiece(
        _ address: UInt64, _ byteCount: Int, to run: inout PieceRun
    ) throws(DataFault) {
        var address = address
        var left = byteCount
        while left > 0 {
            guard let found = memory.run(at: address, byteCount: left) else {
                throw .refused(.dataTransferError)
            }
            if run.count > 0 {
                let last = pieces[run.start &+ run.count &- 1]
                if last.place.advanced(by: last.byteCount) == found.place {
                    pieces[run.start &+ run.count &- 1].byteCount =
                        last.byteCount &+ found.byteCount
                } else {
                    try append(found, to: &run)
                }
            } else {
                try append(found, to: &run)
            }
            left &-= found.byteCount
            let (next, wraps) = address.addingReportingOverflow(UInt64(found.byteCount))
            if wraps && left > 0 { throw .refused(.dataTransferError) }
            address = next
        }
    }

    private func append(
        _ found: (place: RemoteAddress, byteCount: Int), to run: inout PieceRun
    ) throws(DataFault) {
        guard run.count < run.limit else { throw .runFull }
        pieces[run.start &+ run.count] = RemotePiece(
            place: found.place, byteCount: found.byteCount)
        run.count &+= 1
    }

    // --- chunks ---

    func chunk(_ slot: UInt32, _ index: Int) -> UInt32 {
        chunkTable[Int(slot) &* Self.dataChunkLimit &+ index]
    }

    /// Chunks that a command takes, with one for the model's list when there are several.
    private func chunks(_ slot: MirrorSlot) -> Int {
        let data = (slot.byteCount &+ Self.chunk &- 1) / Self.chunk
        return data > 1 ? data &+ 1 : data
    }

    private func stagePayload(_ number: UInt32) -> Bool {
        var slot = slots[Int(number)]
        let data = (slot.byteCount &+ Self.chunk &- 1) / Self.chunk
        guard staging.freeChunkCount >= chunks(slot),
            slot.goesToHost || batch.room > slot.run.count &+ data &+ 4
        else { return false }
        for index in 0..<data {
            guard let chunk = staging.takeChunk() else { return false }
            chunkTable[Int(number) &* Self.dataChunkLimit &+ index] = chunk
        }
        if data > 1 { slot.tableChunk = staging.takeChunk() ?? PieceRoom.none }
        slot.chunkCount = data
        slot.step = .reading
        slots[Int(number)] = slot
        if !slot.goesToHost {
            slots[Int(number)].pendingReads = transfer(
                .read, MirrorTag(.payload, number), number, byteCount: slot.byteCount)
        }
        if slots[Int(number)].pendingReads == 0 { settle(number, .ready) }
        return true
    }

    /// Moves the first `byteCount` bytes between a command's chunks and its pieces.
    /// - Returns: how many transfers there are.
    func transfer(
        _ kind: HostTransfer.Kind, _ tag: MirrorTag, _ number: UInt32, byteCount: Int
    ) -> Int {
        let run = slots[Int(number)].run
        var count = 0
        var done = 0
        for index in 0..<run.count {
            let piece = pieces[run.start &+ index]
            var offset = 0
            while offset < piece.byteCount, done < byteCount {
                let inChunk = done % Self.chunk
                let size = min(
                    piece.byteCount &- offset, byteCount &- done, Self.chunk &- inChunk)
                let local = staging.segment(ofChunk: chunk(number, done / Self.chunk))
                add(
                    kind, tag, local.part(at: inChunk, byteCount: size),
                    piece.place.advanced(by: offset))
                offset &+= size
                done &+= size
                count &+= 1
            }
        }
        return count
    }

    func giveBackChunks(_ number: UInt32) {
        giveBackTable(&slots[Int(number)])
        for index in 0..<slots[Int(number)].chunkCount {
            staging.giveBack(chunk: chunk(number, index))
        }
        slots[Int(number)].chunkCount = 0
    }
}
