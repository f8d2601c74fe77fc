public import CWire

/// A command of the admin queue, copied out of the ring.
public struct AdminCommand: Sendable {
    /// Names it until it is completed.
    public let slot: Int
    public let command: nvme_sqe
    /// Its place among all that the queue ever took, from 0.
    public let sequence: UInt64
    /// Whether a predecessor took it and may have carried it out: function memory of version 1
    /// does not say.
    public let mayBeDone: Bool

    /// Marks its effects and its result in function memory; 0 marks those of no command.
    var mark: UInt64 { sequence + 1 }

    public init(slot: Int, command: nvme_sqe, sequence: UInt64, mayBeDone: Bool = false) {
        self.slot = slot
        self.command = command
        self.sequence = sequence
        self.mayBeDone = mayBeDone
    }
}

/// What has become of moving an admin command's data.
public enum AdminData: Sendable {
    /// What was fetched; nothing when it was for the driver, who has it.
    case moved([UInt8])
    /// The status to complete the command with.
    case refused(NVMeStatus)
    /// Its queue has ended: the command is a successor's.
    case lost
}

/// What there is to do with an admin command that was taken.
enum AdminStep {
    case carryOut(AdminCommand)
    /// A predecessor has carried it out, and its driver has not heard of it.
    case answer(NVMeStatus, result: UInt32)
}

extension InFlightJournal {
    /// - Parameters:
    ///   - isAgain: a predecessor took it.
    ///   - settled: marks up to here counted when the queue was taken over.
    func adminStep(
        _ slot: UInt32, isAgain: Bool, settled: UInt64, in memory: NVMeMemory
    ) -> AdminStep {
        if isAgain {
            if let outcome = outcome(slot, settled: settled) {
                return .answer(outcome.status, result: outcome.result)
            }
            // Decided and never settled: the mark may be reached by another command.
            reopen(slot)
        }
        return .carryOut(
            AdminCommand(
                slot: Int(slot), command: command(slot), sequence: sequence(slot),
                mayBeDone: isAgain && !memory.recordsOutcomes))
    }
}
