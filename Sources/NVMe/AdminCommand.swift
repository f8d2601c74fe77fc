public import CWire

/// A command of the admin queue, copied out of the ring.
public struct AdminCommand: Sendable {
    /// Names it until it is completed.
    public let slot: Int
    public let command: nvme_sqe
    /// Its place among all that the queue ever took, from 0. A record that stores an effect and its
    /// result under this number tells, after a crash, whether the effect has happened.
    public let sequence: UInt64
    /// Whether a predecessor took it, and may have carried it out.
    public let isReplay: Bool

    public init(slot: Int, command: nvme_sqe, sequence: UInt64, isReplay: Bool) {
        self.slot = slot
        self.command = command
        self.sequence = sequence
        self.isReplay = isReplay
    }
}
