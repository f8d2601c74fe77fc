internal import Bounded
public import Memory

/// Host memory and doorbells: when they move, and when nobody looks at them.
extension IOQueue {
    /// The host's memory table has changed. What the queue uses and is not there any more parks it;
    /// it goes on when it is back.
    /// - Precondition: the queue is drained when a region that it may use has vanished.
    public mutating func exchange(memory: HostMemory) {
        self.memory = memory
        window = HostWindow()
        completion.resolve(in: memory)
        for index in 0..<submissions.count { submissions[index].resolve(in: memory) }
    }

    /// The completion queue's doorbell has moved (Doorbell Buffer Config).
    public mutating func exchange(head: Doorbell) { completion.exchange(head, memory: memory) }

    /// A submission queue's doorbell has moved (Doorbell Buffer Config).
    public mutating func exchange(tail: Doorbell, of submission: UInt16) {
        guard let index = submissionIndex(submission) else { return }
        submissions[index].exchange(tail, memory: memory)
    }

    /// Before the queue is left alone: asks the driver for MMIO writes.
    /// - Returns: false when there is work already.
    public mutating func enableDoorbellEvents() -> Bool {
        guard phase == .running else { return true }
        if memory.isDead {
            fail(.memoryGone)
            return false
        }
        if turn.completed > 0 || replay?.isEmpty == false || canGoOn { return false }
        // What found no room, or is under way, waits for completions, not for doorbells.
        if completion.isParked || !batch.isEmpty || namespaces.hasOffers || stage.isExclusive {
            return true
        }
        for index in 0..<submissions.count { submissions[index].askForTail() }
        completion.askForHead()
        // Pairs with the driver's fence between its store of a doorbell and its reading of our
        // event index (Base §5.8): one of us sees the other.
        fullFence()
        do { return try !hasWork() } catch {
            fail(error)
            return false
        }
    }

    /// Whether something that had to wait need not wait any more.
    private var canGoOn: Bool {
        if !waiting.isEmpty && room.hasLong { return true }
        if stage.current != nil { return false }
        return !stage.queue.isEmpty || stage.isExclusive && outstanding == 2
    }

    /// Whether a queue that was left alone has anything to do, or wants a turn to find out. Cheaper
    /// than a turn: a load for each submission queue.
    public func hasNews() -> Bool {
        if phase != .running || outstanding > 0 || memory.isDead || completion.isParked
            || completion.knownRoom(reserved: 0) <= 0 || replay?.isEmpty == false
        {
            return true
        }
        for index in 0..<submissions.count where submissions[index].hasNews { return true }
        return false
    }

    private mutating func hasWork() throws(QueueFault) -> Bool {
        try completion.readHead(quietly: true)
        if freeSlots.freeCount == 0 || completion.knownRoom(reserved: outstanding) <= 0 {
            return false
        }
        for index in 0..<submissions.count where try submissions[index].readTail() { return true }
        return false
    }

    /// Tells the driver that MMIO writes are a waste.
    public mutating func disableDoorbellEvents() {
        // A queue that has stopped may be another holder's already.
        guard phase == .running else { return }
        for index in 0..<submissions.count { submissions[index].ignoreTail() }
        completion.ignoreHead()
    }

    /// Interrupts the driver although nothing may have happened: after adoption, and when its
    /// descriptor changes (a spurious interrupt is legal, a missing one is not).
    public mutating func interruptAnyway() {
        if phase.answers, isInterruptEnabled, !interrupt.raise() { fail(.interruptBlocked) }
    }
}
