internal import Platform

/// A controller's record, and what has become of its admin commands: an effect and its result count
/// from one store on (design §4). Confined to the controller's owner.
///
/// A command is carried out in this order of stores:
///
/// 1. data for the driver, which looks at it after the completion only;
/// 2. cells of queues that are made or deleted, bearing the command's mark;
/// 3. outcomes in journal slots, its own and those of commands that it ends, bearing its mark;
/// 4. the controller's record, whose `settled` reaches the mark: all of this counts from here on;
/// 5. completions (`InFlightJournal`).
///
/// A service that dies before 4 has done nothing: its successor takes back the cells
/// (`takeBackUnsettled`), sees no outcome, and carries the command out. One that dies after 4 has
/// done everything: its successor posts the outcomes. Commands are settled in the order in which
/// they were taken, and all but open Asynchronous Event Requests have an outcome then, so one
/// number tells. Commands that an Abort or a deletion ends on an I/O queue are that queue's: they
/// are answered before 4. An Abort that is repeated finds its command gone and says "not
/// aborted", which promises nothing.
///
/// Version 1 has neither marks nor outcomes: what was taken and not answered is carried out again,
/// and `ControllerModel` judges by the effect whether it is there already.
public struct OutcomeRecord: Sendable {
    public let memory: NVMeMemory
    /// As last stored; nil before this service has stored or taken one over.
    private var stored: [UInt8]?
    private var settled: UInt64 = 0

    public init(_ memory: NVMeMemory) { self.memory = memory }

    /// Takes over what a predecessor left. Only the holder of the lease may.
    /// - Returns: false, with the model as it was, when there is no record that can be read.
    public mutating func restore(_ model: inout ControllerModel) -> Bool {
        // A standby's memory may have been converted since it looked.
        guard MemoryVersions.spoken.contains(memory.version),
            let record = memory.loadControllerRecord()
        else { return false }
        memory.takeBackUnsettled()
        guard model.restore(record, from: memory) else { return false }
        stored = record
        settled = memory.settledMark
        return true
    }

    /// A controller reset: nothing is left of its queues, and the layout becomes the wanted one.
    public mutating func clear(_ model: ControllerModel) {
        memory.clear()
        stored = nil
        settled = 0
        store(model)
    }

    /// Writes what a successor must know, when it has changed.
    public mutating func store(_ model: ControllerModel) {
        let record = model.record
        if record == stored { return }
        memory.storeControllerRecord(record, settled: settled)
        stored = record
    }

    /// The command has its effects and its result, and so have those that it ended. Its completion
    /// may be posted.
    public mutating func settle(
        _ admin: AdminCommand, _ status: NVMeStatus, result: UInt32 = 0, with model: ControllerModel
    ) {
        decide(admin.slot, status, result: result, by: admin)
        if memory.recordsOutcomes {
            settled = max(settled, admin.mark)
            stored = nil
        }
        store(model)
        CrashPoint.outcomeSettled.reached()
    }

    /// Notes what becomes of an open command when `admin` is settled: of itself, or of another.
    public func decide(
        _ slot: Int, _ status: NVMeStatus, result: UInt32 = 0, by admin: AdminCommand
    ) {
        guard memory.recordsOutcomes else { return }
        InFlightJournal(memory.journal(0)).decide(
            UInt32(slot), status, result: result, mark: admin.mark)
        memory.noteDecision(UInt32(slot))
    }

    // --- queues ---

    /// Notes a queue that `admin` makes.
    public func createSubmissionQueue(_ id: UInt16, _ record: QueueRecord, by admin: AdminCommand) {
        memory.createSubmissionQueue(id, record, mark: admin.mark)
    }

    public func createCompletionQueue(_ id: UInt16, _ record: QueueRecord, by admin: AdminCommand) {
        memory.createCompletionQueue(id, record, mark: admin.mark)
    }

    /// Notes that `admin` deletes a queue, or could not make it.
    /// - Precondition: nothing of it is in flight.
    public func deleteSubmissionQueue(_ id: UInt16, by admin: AdminCommand) {
        memory.deleteSubmissionQueue(id, mark: admin.mark)
    }

    public func deleteCompletionQueue(_ id: UInt16, by admin: AdminCommand) {
        memory.deleteCompletionQueue(id, mark: admin.mark)
    }
}
