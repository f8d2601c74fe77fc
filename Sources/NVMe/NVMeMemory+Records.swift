internal import CWire
public import Memory

/// A queue as it was created, and still is.
public struct QueueRecord: Equatable, Sendable {
    public var address: UInt64
    public var size: Int
    /// Submission queues only.
    public var completionQueue: UInt16
    /// Submission queues only: 0 ... 3, urgent first.
    public var priority: UInt8
    /// Completion queues only.
    public var vector: UInt16
    public var isInterruptEnabled: Bool

    public init(submissionAt address: UInt64, size: Int, completionQueue: UInt16, priority: UInt8) {
        self.address = address
        self.size = size
        self.completionQueue = completionQueue
        self.priority = priority
        vector = 0
        isInterruptEnabled = false
    }

    public init(completionAt address: UInt64, size: Int, vector: UInt16, isInterruptEnabled: Bool) {
        self.address = address
        self.size = size
        self.vector = vector
        self.isInterruptEnabled = isInterruptEnabled
        completionQueue = 0
        priority = 0
    }

    init?(_ record: nvme_queue_record) {
        if record.is_valid == 0 { return nil }
        address = record.address
        size = Int(record.size)
        completionQueue = record.completion_queue
        priority = record.priority
        vector = record.vector
        isInterruptEnabled = record.is_interrupt_enabled != 0
    }

    func wire(mark: UInt64) -> nvme_queue_record {
        var record = nvme_queue_record()
        record.address = address
        record.size = UInt32(size)
        record.completion_queue = completionQueue
        record.priority = priority
        record.vector = vector
        record.is_interrupt_enabled = isInterruptEnabled ? 1 : 0
        record.is_valid = 1
        record.mark = mark
        return record
    }
}

/// The records: control plane only, these allocate.
extension NVMeMemory {
    private var controller: RecordPair {
        pair(at: Layout.controller, byteCount: 2 * Layout.controllerCopy)
    }

    private func pair(at offset: Int, byteCount: Int) -> RecordPair {
        RecordPair(bytes.part(at: offset, byteCount: byteCount)) { [self] place, count in
            note(offset + place, count)
        }
    }

    /// Replaces the controller's record as a whole. At most `controllerRecordLimit` bytes.
    /// - Parameter settled: whatever bears this mark or a lower one counts from now on; version 1
    ///   keeps no marks.
    public func storeControllerRecord(_ record: [UInt8], settled: UInt64 = 0) {
        precondition(record.count <= NVMeMemory.controllerRecordLimit)
        controller.write((recordsOutcomes ? ByteLayout.bytes(of: settled) : []) + record)
    }

    /// Nil when none was stored since the memory was made.
    public func loadControllerRecord() -> [UInt8]? { settledRecord?.record }

    /// The highest mark that counts.
    var settledMark: UInt64 { settledRecord?.settled ?? 0 }

    private var settledRecord: (settled: UInt64, record: [UInt8])? {
        guard case .record(_, _, let bytes) = controller.read() else { return nil }
        if !recordsOutcomes { return (0, bytes) }
        guard let settled = ByteLayout.load(UInt64.self, from: bytes) else { return nil }
        return (settled, Array(bytes.dropFirst(8)))
    }

    private func cell(_ id: Int) -> Int {
        precondition(id >= 0 && id < queueCount, "queue id past the end")
        return Layout.queues + id * Layout.cell
    }

    private func submissions(_ id: Int) -> RecordPair {
        pair(at: cell(id), byteCount: 128)
    }

    private func completions(_ id: Int) -> RecordPair {
        pair(at: cell(id) + 128, byteCount: 128)
    }

    /// Commands taken off submission queue `id` since it was created: 8 bytes.
    func consumedCount(of id: UInt16) -> SharedBytes {
        bytes.part(at: consumedOffset(of: id), byteCount: 8)
    }

    func consumedOffset(of id: UInt16) -> Int { cell(Int(id)) + 256 }

    private func clearConsumedCount(of id: UInt16) {
        consumedCount(of: id).storeRelease64(0, at: 0)
        note(consumedOffset(of: id), 8)
    }

    /// When completion queue `id` last answered its driver, in processor ticks, 8 bytes; 0 when it
    /// has not since it was created.
    public func lastAnswer(of id: UInt16) -> SharedBytes {
        bytes.part(at: cell(Int(id)) + 264, byteCount: 8)
    }

    private static func record(_ reading: RecordPair.Reading) -> QueueRecord? {
        reading.queueRecord.flatMap { QueueRecord($0) }
    }

    public func submissionQueue(_ id: UInt16) -> QueueRecord? {
        NVMeMemory.record(submissions(Int(id)).read())
    }

    public func completionQueue(_ id: UInt16) -> QueueRecord? {
        NVMeMemory.record(completions(Int(id)).read())
    }

    // A mark is that of the command that is carried out; 0 counts at once.

    /// Notes a new submission queue. It starts at entry 0.
    public func createSubmissionQueue(_ id: UInt16, _ record: QueueRecord, mark: UInt64 = 0) {
        clearConsumedCount(of: id)
        write(record.wire(mark: mark), to: submissions(Int(id)))
    }

    /// Notes a new completion queue. Its journal is empty.
    public func createCompletionQueue(_ id: UInt16, _ record: QueueRecord, mark: UInt64 = 0) {
        clearJournal(id)
        lastAnswer(of: id).storeRelease64(0, at: 0)
        write(record.wire(mark: mark), to: completions(Int(id)))
    }

    /// - Precondition: nothing of it is in flight.
    public func deleteSubmissionQueue(_ id: UInt16, mark: UInt64 = 0) {
        delete(from: submissions(Int(id)), mark: mark)
    }

    public func deleteCompletionQueue(_ id: UInt16, mark: UInt64 = 0) {
        delete(from: completions(Int(id)), mark: mark)
    }

    private func delete(from pair: RecordPair, mark: UInt64) {
        if NVMeMemory.record(pair.read()) == nil { return }
        var record = nvme_queue_record()
        record.mark = mark
        write(record, to: pair)
    }

    private func write(_ record: nvme_queue_record, to pair: RecordPair) {
        pair.write(Array(ByteLayout.bytes(of: record).prefix(queueRecordByteCount)))
    }

    private var queueRecordByteCount: Int {
        MemoryLayout<nvme_queue_record>.size - (recordsOutcomes ? 0 : 8)
    }

    /// Takes back queues that a predecessor made or deleted for a command that it did not settle.
    /// Cut short, it is done again.
    func takeBackUnsettled() {
        let settled = settledMark
        for id in 0..<queueCount {
            for pair in [submissions(id), completions(id)] {
                // A creation that failed has marked both copies.
                while true {
                    let found = pair.read()
                    guard case .record(_, let copy, _) = found,
                        let record = found.queueRecord, record.mark > settled
                    else { break }
                    pair.erase(copy)
                }
            }
        }
    }

    /// A controller reset (CC.EN 1 to 0): no queues, nothing in flight; the layout becomes the one
    /// that is wanted. The controller's record is old; its owner stores the one that says what the
    /// reset left. Cut short, it is done again: the controller is not ready meanwhile.
    public func clear() {
        for id in 0..<queueCount {
            for pair in [submissions(id), completions(id)] {
                for copy in 0...1 { pair.erase(copy) }
            }
            // The creation of an I/O queue clears its journal too, and over there it takes time.
            if changes == nil || id == 0 { clearJournal(UInt16(id)) }
            clearConsumedCount(of: UInt16(id))
        }
        if version == wantedVersion { return }
        for copy in 0...1 { controller.erase(copy) }
        layOut()
    }

    func checkRecords() throws(NVMeMemoryError) {
        if case .damaged = controller.read() { throw .damaged("the controller record") }
        for id in 0..<queueCount {
            for (name, pair) in [("submission", submissions(id)), ("completion", completions(id))] {
                switch pair.read() {
                case .empty: break
                case .record(_, _, let bytes):
                    guard bytes.count == queueRecordByteCount else {
                        throw .damaged("the record of \(name) queue \(id)")
                    }
                case .damaged: throw .damaged("the record of \(name) queue \(id)")
                }
            }
            try checkJournal(UInt16(id))
        }
    }

    // --- journals ---

    func journalOffset(_ id: UInt16) -> Int {
        precondition(Int(id) < queueCount, "queue id past the end")
        return Layout.journals(queueCount: queueCount) + Int(id) * Layout.journal
    }

    /// The journal of completion queue `id`: header and slots.
    func journal(_ id: UInt16) -> SharedBytes {
        bytes.part(
            at: journalOffset(id),
            byteCount: Layout.journalHeader + NVMeMemory.inFlightLimit * Layout.slot)
    }

    /// Scratch memory of completion queue `id`.
    func stage(_ id: UInt16) -> SharedBytes {
        bytes.part(at: journalOffset(id) + Layout.stage, byteCount: NVMeMemory.stageByteCount)
    }

    private func clearJournal(_ id: UInt16) {
        let journal = journal(id)
        for slot in 0..<NVMeMemory.inFlightLimit {
            journal.storeRelease8(
                0, at: Layout.journalHeader + slot * Layout.slot + InFlightJournal.Field.state)
        }
        journal.storeRelease64(0, at: 0)
        note(journalOffset(id), 8)
        note(journalOffset(id), journal.byteCount)
    }

    private func checkJournal(_ id: UInt16) throws(NVMeMemoryError) {
        let journal = journal(id)
        for slot in 0..<NVMeMemory.inFlightLimit {
            let offset = Layout.journalHeader + slot * Layout.slot
            let entry = journal.load(nvme_in_flight_slot.self, at: offset)
            guard entry.state <= 1, entry.state == 0 || entry.submission_queue < queueCount else {
                throw .damaged("slot \(slot) of completion queue \(id)")
            }
        }
    }
}

extension RecordPair.Reading {
    /// Of a queue. Version 1 has no mark: it counts.
    fileprivate var queueRecord: nvme_queue_record? {
        guard case .record(_, _, let bytes) = self else { return nil }
        return ByteLayout.load(
            nvme_queue_record.self, from: bytes.padded(to: MemoryLayout<nvme_queue_record>.size))
    }
}
