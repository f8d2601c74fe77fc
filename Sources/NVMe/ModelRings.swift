internal import CWire
internal import Memory
internal import Platform

/// The rings of a device model in the staging area, and their driver: one submission queue with a
/// place for each slot, whose number names the command.
final class ModelRings {
    let part: StagingArea.Part
    private let size: Int
    private let submissions, completions, doorbells: SharedBytes
    private var tail = 0
    private var head = 0
    private var phase = true

    /// Nil when the staging area has no room.
    init?(in staging: StagingArea, slotCount: Int) {
        size = slotCount + 1
        let entries = (NVME_SQE_BYTES * size + 63) & ~63
        let answers = (NVME_CQE_BYTES * size + 63) & ~63
        guard let part = staging.takePart(byteCount: entries + answers + 64) else { return nil }
        self.part = part
        submissions = part.bytes.part(at: 0, byteCount: entries)
        completions = part.bytes.part(at: entries, byteCount: answers)
        doorbells = part.bytes.part(at: entries + answers, byteCount: 64)
    }

    /// A device model on these rings. What it has in flight is nobody's after it: its journal is
    /// its own.
    func makeQueue(
        _ memory: HostMemory, _ shape: QueueShape, _ counters: QueueCounters
    ) throws(QueueFault) -> IOQueue {
        let journal: NVMeMemory
        do {
            let byteCount = NVMeMemory.byteCount(queueCount: 1)
            let file = try MemoryFile.create(name: "model", byteCount: UInt64(byteCount))
            journal = try NVMeMemory(
                adopting: Mapping(file.number, byteCount: byteCount), queueCount: 1)
        } catch { throw .journal }
        var queue = try IOQueue(
            CompletionQueueSetup(
                id: 0, address: part.address + UInt64(submissions.byteCount), size: size,
                vector: 0, isInterruptEnabled: false,
                head: .page(doorbells.part(at: 4, byteCount: 4))),
            memory: memory, journal: journal, interrupt: NoInterrupt(), shape: shape,
            counters: counters)
        try queue.add(
            SubmissionQueueSetup(
                id: 0, address: part.address, size: size, completionQueue: 0,
                tail: .page(doorbells.part(at: 0, byteCount: 4))))
        return queue
    }

    /// Fewer than `slotCount` commands are on their way.
    func submit(_ line: CacheLine) {
        submissions.store(line, at: NVME_SQE_BYTES &* tail)
        tail &+= 1
        if tail == size { tail = 0 }
        doorbells.storeRelease32(UInt32(tail), at: 0)
    }

    /// What the model has completed next.
    func next() -> (slot: UInt32, status: NVMeStatus)? {
        let word = completions.loadAcquire64(at: NVME_CQE_BYTES &* head &+ 8)
        guard (word >> 48 & 1 != 0) == phase else { return nil }
        head &+= 1
        if head == size {
            head = 0
            phase.toggle()
        }
        doorbells.storeRelease32(UInt32(head), at: 4)
        return (
            UInt32(truncatingIfNeeded: word >> 32 & 0xFFFF),
            NVMeStatus(rawValue: UInt16(truncatingIfNeeded: word >> 49))
        )
    }
}

/// The device model's interrupts go nowhere: its driver looks.
private final class NoInterrupt: InterruptLine {
    func raise() -> Bool { true }
}
