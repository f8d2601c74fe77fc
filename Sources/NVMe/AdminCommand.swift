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
