public import Bdev
internal import Bounded
internal import CWire
public import Memory
public import Platform

/// An I/O completion queue and its submission queues, whose host is reached by transfers only.
///
/// It is a driver to an `IOQueue` of its own, whose rings and data lie in the staging area: what
/// the host submits is taken by `MirroredRings`, its data moved there, and the command put on that
/// queue with a data pointer of ours; how it ends is written back. So there is one device model for
/// both data paths, and it knows of neither. The model's command identifier is the slot.
///
/// Fused commands are refused: a controller of this data path does not offer them. Confined to one
/// thread.
public final class MirroredIOQueue {
    let rings: MirroredRings
    /// The device model, on rings in the staging area.
    private var model: IOQueue
    private let modelRings: ModelRings
    private let staging: StagingArea
    public let counters: QueueCounters
    private let shape: QueueShape
    private var turn = QueueCounters.Reading()
    /// By slot: it ends so, whatever the model says.
    private var isDeleted: FixedTable<Bool>

    /// - Parameters:
    ///   - memory: where the rings lie; a ring that is not there parks the queue.
    ///   - journal: of the function; a journal that is in use is taken over.
    public init(
        _ setup: CompletionQueueSetup, memory: RemoteMemory, journal: NVMeMemory,
        link: MirrorLink, shape: QueueShape, counters: QueueCounters
    ) throws(QueueFault) {
        rings = try MirroredRings(
            setup, memory: memory, journal: journal, link: link,
            transferByteLimit: shape.transferByteLimit)
        staging = link.staging
        self.counters = counters
        self.shape = shape
        let slotCount = rings.slots.count
        guard let modelRings = ModelRings(in: link.staging, slotCount: slotCount) else {
            rings.close()
            throw .stagingFull
        }
        self.modelRings = modelRings
        model = try modelRings.makeQueue(link.staging.memory, shape, counters)
        isDeleted = FixedTable(count: slotCount, repeating: false)
    }

    /// The staging memory is free when nothing is under way any more.
    public func close() {
        rings.close()
        staging.giveBack(modelRings.part)
    }

    /// Whose transfers they are.
    public var client: any TransferClient { rings }

    // --- state ---

    public var id: UInt16 { rings.completion.id }
    public var phase: IOQueue.Phase { rings.phase }
    /// Commands taken and not yet answered.
    public var outstanding: Int { rings.outstanding }
    /// Whether host memory can no longer be reached: not a fault of the driver.
    public var isLost: Bool { rings.isLost }
    public var isDrained: Bool { rings.isDrained && model.outstanding == 0 }
    public var canSend: Bool { rings.canSend }
    public var wakeTime: Ticks? { hasNews ? Ticks(0) : model.wakeTime }
    /// Whether a turn has something to do.
    public var hasNews: Bool { rings.hasNews }
    /// Whether it waits for nothing but a doorbell.
    public var isAsleep: Bool { rings.isAsleep }
    /// Whether it has looked, and nothing waits or is under way.
    public var isIdle: Bool { rings.isAsleep && rings.underWay == 0 && outstanding == 0 }
    /// Whether doorbells that were moved or cleared stand where the driver looks for them.
    public var isSettled: Bool { rings.isSettled }

    public func drain() { rings.drain() }
    public func resume() { rings.resume() }

    /// As `IOQueue.discard`.
    public func discard() {
        rings.discard()
        model.discard()
    }

    public func abandonHeld() { model.abandonHeld() }
    /// A doorbell may have been rung.
    public func kick() { rings.isKicked = true }
    /// Interrupts the driver although nothing may have happened. A drained queue does it later.
    public func interruptAnyway() { rings.owesInterrupt = true }

    // --- one turn ---

    /// Does one turn.
    /// - Returns: ends taken, commands taken and answered; 0 means idle.
    public func poll(now: Ticks) -> Int {
        let news = rings.news
        rings.begin()
        guard rings.stage == .open, rings.phase.answers else {
            if rings.stage != .opening || !rings.phase.answers { model.discard() }
            rings.end()
            let done = model.outstanding > 0 ? model.poll(now: now) : 0
            if rings.isLost, isDrained { rings.giveBackAllChunks() }
            return news &+ done
        }
        var taken = 0
        while let slot = rings.fresh.pop() {
            plan(slot)
            taken &+= 1
        }
        offer()
        let done = model.poll(now: now)
        collect()
        rings.end()
        if turn.completed > 0 {
            counters.add(turn)
            turn = QueueCounters.Reading()
        }
        return news &+ taken &+ done
    }

    // --- to the model ---

    /// Has a command's data moved when the model will want it.
    private func plan(_ slot: UInt32) {
        isDeleted[Int(slot)] = false
        let command = Command(rings.journal.line(slot))
        guard command.fuse == 0, let data = data(of: command) else {
            return rings.settle(slot, .taken)
        }
        rings.move(slot, byteCount: data.byteCount, toHost: data.toHost)
    }

    /// The data of a command that the model does not refuse by itself.
    private func data(of command: Command) -> (byteCount: Int, toHost: Bool)? {
        guard let place = model.namespaces.place(of: command.namespace) else { return nil }
        let view = model.namespaces.view(at: place)
        let byteCount = Int(command.blockCount &<< UInt64(view.blockShift))
        let fits = byteCount <= shape.transferByteLimit
        switch command.opcode {
        case NVME_NVM_READ where fits:
            return IOQueue.flaw(command, view, changesData: false) == nil ? (byteCount, true) : nil
        case NVME_NVM_WRITE where fits:
            return IOQueue.flaw(command, view, changesData: true) == nil ? (byteCount, false) : nil
        case NVME_NVM_COMPARE where fits && view.offersCompare:
            return IOQueue.flaw(command, view, changesData: false) == nil ? (byteCount, false) : nil
        case NVME_NVM_DATASET_MANAGEMENT
        where view.offersDeallocate && command.deallocates && !view.isReadOnly:
            return (command.rangeCount &* MemoryLayout<nvme_dsm_range>.size, false)
        default: return nil
        }
    }

    /// Puts what is prepared on the model's queue. Commands may overtake each other (Base §3.4).
    private func offer() {
        while let number = rings.prepared.pop() {
            let slot = rings.slots[Int(number)]
            if slot.step == .refused {
                turn.received &+= 1
                turn.completed &+= 1
                turn.refusals &+= 1
                turn.errors &+= 1
                rings.answer(number, slot.status)
            } else {
                modelRings.submit(line(number, slot))
            }
        }
    }

    /// The command as the model gets it: its data pointer is ours, or leads nowhere.
    private func line(_ number: UInt32, _ slot: MirrorSlot) -> CacheLine {
        var line = rings.journal.line(number)
        var flags = line.word0 & 0x300
        // Of no meaning to the model, which says so.
        if flags != 0 { flags = 0x300 }
        line.word0 =
            line.word0 & 0xFFFF_FFFF_0000_00FF | flags | UInt64(number) << 16
        line.word1 = 0
        line.word2 = 0
        line.word3 = 0
        line.word4 = 0
        guard slot.step == .ready, slot.chunkCount > 0 else { return line }
        line.word0 |= UInt64(NVME_PSDT_SGL) << 14
        if slot.chunkCount == 1 {
            line.word3 = staging.address(ofChunk: rings.chunk(number, 0))
            line.word4 = UInt64(slot.byteCount) | UInt64(NVME_SGL_DATA_BLOCK) << 56
            return line
        }
        let table = staging.segment(ofChunk: slot.tableChunk)
        var left = slot.byteCount
        for index in 0..<slot.chunkCount {
            let size = min(left, StagingArea.chunkByteCount)
            table.store(
                staging.address(ofChunk: rings.chunk(number, index)), at: 16 &* index)
            table.store(
                UInt64(size) | UInt64(NVME_SGL_DATA_BLOCK) << 56, at: 16 &* index &+ 8)
            left &-= size
        }
        line.word3 = staging.address(ofChunk: slot.tableChunk)
        line.word4 = UInt64(16 &* slot.chunkCount) | UInt64(NVME_SGL_LAST_SEGMENT) << 56
        return line
    }

    /// Takes what the model has completed.
    private func collect() {
        while let (number, status) = modelRings.next() {
            let slot = rings.slots[Int(number)]
            let isOutput = slot.goesToHost && slot.chunkCount > 0 && status == .success
            rings.answer(
                number,
                isDeleted[Int(number)] && status == .abortRequested ? .abortedByDeletion : status,
                output: isOutput ? slot.byteCount : 0)
        }
    }

    // --- submission queues ---

    /// Adds a queue whose completions come here. Where it goes on is in the function's memory.
    /// - Parameter isNew: its doorbell starts at 0, wherever it stands; `isSettled` says when.
    public func add(_ setup: SubmissionQueueSetup, isNew: Bool = false) throws(QueueFault) {
        try rings.add(setup, isNew: isNew)
    }

    /// As `IOQueue.remove(submission:)`.
    public func remove(submission id: UInt16) {
        guard let index = rings.submissionIndex(id) else { return }
        rings.submissions[index].leave()
        for number in 0..<UInt32(rings.slots.count) where rings.isSlot(number, of: index) {
            isDeleted[Int(number)] = true
            _ = model.abort(submission: 0, command: UInt16(number))
        }
    }

    public func isDrained(submission id: UInt16) -> Bool { rings.isDrained(submission: id) }
    public func release(submission id: UInt16) { rings.release(submission: id) }

    /// As `IOQueue.abort`. The command is answered when it is no longer under way, unless the
    /// queue is lost before: a successor, which knows nothing of it, carries it out.
    public func abort(submission: UInt16, command: UInt16) -> Bool {
        guard phase.answers, let number = slot(submission, command) else { return false }
        return model.abort(submission: 0, command: UInt16(number))
    }

    /// As `IOQueue.isUnderWay`.
    public func isUnderWay(submission: UInt16, command: UInt16) -> Bool {
        slot(submission, command) != nil
    }

    private func slot(_ submission: UInt16, _ command: UInt16) -> UInt32? {
        guard let index = rings.submissionIndex(submission) else { return nil }
        for number in 0..<UInt32(rings.slots.count) where rings.isSlot(number, of: index) {
            if rings.slots[Int(number)].command == command { return number }
        }
        return nil
    }

    // --- namespaces ---

    public func attach(_ namespace: NamespaceView, channel: BlockChannel) {
        model.attach(namespace, channel: channel)
    }
    public func update(_ namespace: NamespaceView) { model.update(namespace) }
    public func detach(namespace id: UInt32) { model.detach(namespace: id) }
    public func isDrained(namespace id: UInt32) -> Bool { model.isDrained(namespace: id) }
    public func release(namespace id: UInt32) { model.release(namespace: id) }
}
