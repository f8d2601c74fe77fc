internal import Synchronization

/// Places at which a test ends the process as `kill -9` would. Debug builds only: in others nothing
/// is left of them.
///
/// `SOFTSNAP_CRASH=NAME:N` in the environment ends the process when it reaches a place for the N-th
/// time (1 when left out).
public enum CrashPoint: String, CaseIterable, Sendable {
    case createLeaseHeld = "create.lease_held"
    case createDone = "create.done"
    case destroyDrained = "destroy.drained"
    case destroyReleased = "destroy.released"
    case suspendDrained = "suspend.drained"
    case resumeBegun = "resume.begun"
    case handOverHalted = "hand_over.halted"
    case handOverGiven = "hand_over.given"
    case takeOverBegun = "take_over.begun"
    case takeOverDone = "take_over.done"
    case recoveryCall = "recovery.call"
    case recordWritten = "record.written"
    case journalBegan = "journal.began"
    case outcomeSettled = "outcome.settled"
    case journalEnding = "journal.ending"
    case completionPosted = "completion.posted"
    case journalEnded = "journal.ended"
    case interruptRaised = "interrupt.raised"
    case kickTaken = "kick.taken"
    case leaseEnded = "lease.ended"
    case leaseBegun = "lease.begun"

    #if DEBUG
        private static let wanted: (point: CrashPoint, count: Int)? = {
            let parts = ProcessFacts.environment("SOFTSNAP_CRASH")?.split(separator: ":") ?? []
            guard let name = parts.first, let point = CrashPoint(rawValue: String(name)) else {
                return nil
            }
            return (point, parts.dropFirst().first.flatMap { Int($0) } ?? 1)
        }()
        private static let count = Atomic<Int>(0)
    #endif

    /// The process is at this place.
    @inline(__always)
    public func reached() {
        #if DEBUG
            if let wanted = Self.wanted, wanted.point == self { arrive(wanted.count) }
        #endif
    }

    #if DEBUG
        private func arrive(_ last: Int) {
            if Self.count.add(1, ordering: .relaxed).newValue < last { return }
            ProcessFacts.complain("crash point \(rawValue)")
            try? Signals.send(Signals.kill, to: ProcessFacts.identifier)
        }
    #endif
}
