public import Bdev
internal import Bounded
internal import Memory

/// Stopping, resetting, failing and going on.
extension IOQueue {
    /// Where a queue is in its life. The legal steps:
    ///
    ///     running ── drain ──▶ draining ── resume ──▶ running
    ///        │                    │
    ///        ├── discard ─────────┴──▶ discarding
    ///        └── a fault ────────────▶ failed
    public enum Phase: Equatable, Sendable {
        case running
        /// Takes nothing new; what is under way is answered.
        case draining
        /// The driver has reset the controller: nothing more goes to its memory's rings.
        case discarding
        case failed(QueueFault)

        var answers: Bool { self == .running || self == .draining }
    }

    /// Whether nothing is under way any more.
    public var isDrained: Bool { outstanding == 0 && phase != .running }

    /// Stops taking commands.
    public mutating func drain() {
        if phase == .running { phase = .draining }
    }

    /// Takes commands again after a drain.
    public mutating func resume() {
        if phase == .draining { phase = .running }
    }

    /// The driver has taken the rings back (controller reset). What a device still does must end,
    /// and is not answered.
    public mutating func discard() {
        if case .failed = phase {} else { phase = .discarding }
        dropWork()
    }

    /// Ends commands that wait for something other than a device. For a drain past its deadline.
    public mutating func abandonHeld() { namespaces.abandonHeld() }

    /// The queue cannot go on. The driver sees no further answer until it resets the controller.
    mutating func fail(_ fault: QueueFault) {
        guard phase.answers else { return }
        // Memory that is gone reads as zeros, which look like any other fault.
        phase = .failed(memory.isDead ? .memoryGone : fault)
        dropWork()
    }

    /// Forgets what no device has seen. The phase answers no more.
    private mutating func dropWork() {
        while let number = replay?.next() { freeSlots.giveBack(number) }
        // A slot whose request no channel has taken, or that has none, is free at once.
        for number in 0..<UInt32(freeSlots.capacity) where freeSlots.isTaken(number) {
            if withdraw(number) { finish(number, .abortRequested) }
        }
        namespaces.abandonHeld()
    }

    /// Takes a command out of wherever it waits. False when a device works on it.
    private mutating func withdraw(_ number: UInt32) -> Bool {
        if let pair = stage.pair, number == pair.first || number == pair.second {
            return withdrawFused(number, pair)
        }
        if waiting.remove(number) || stage.queue.remove(number) { return true }
        let isOffered =
            batch.withdraw(number)
            || namespaces.withdraw(number, from: slots[Int(number)].place)
        if isOffered, stage.current?.number == number { stage.current = nil }
        return isOffered
    }

    /// Both of a pair end together, at its running request if there is one.
    private mutating func withdrawFused(_ number: UInt32, _ pair: Stage.FusedPair) -> Bool {
        if phase.answers { return false }
        // Another command may have the area while the pair waits to be alone.
        if let use = stage.current, use.kind == .fused {
            let place = slots[Int(number)].place
            let isOffered =
                batch.withdraw(use.number) || batch.withdraw(use.second)
                || namespaces.withdraw(use.number, from: place)
                || namespaces.withdraw(use.second, from: place)
            guard isOffered else { return false }
            stage.current = nil
        }
        stage.pair = nil
        finish(number == pair.first ? pair.second : pair.first, .abortRequested)
        return true
    }

    // --- submission queues ---

    /// Adds a queue whose completions come here. Where it goes on is in the function's memory.
    public mutating func add(_ setup: SubmissionQueueSetup) throws(QueueFault) {
        guard Int(setup.id) < journalMemory.queueCount, setup.completionQueue == id,
            submissionIndex(setup.id) == nil
        else { throw .badIdentifier }
        let ring = try SubmissionRing(
            setup, memory: memory, consumedCell: journalMemory.consumedCount(of: setup.id))
        for index in 0..<submissions.count where submissions[index].isGone {
            submissions[index] = ring
            return
        }
        submissions.append(ring)
    }

    public var submissionCount: Int {
        var count = 0
        for index in 0..<submissions.count where !submissions[index].isGone { count += 1 }
        return count
    }

    /// Takes nothing more from a submission queue, and aborts what no device has seen of it. The
    /// rest is answered; `isDrained(submission:)` says when, and `release` ends it.
    public mutating func remove(submission id: UInt16) {
        guard let index = submissionIndex(id) else { return }
        submissions[index].leave()
        for number in 0..<UInt32(freeSlots.capacity) where isSlot(number, of: index) {
            if phase.answers, withdraw(number) { finish(number, .abortedByDeletion) }
        }
    }

    private func isSlot(_ number: UInt32, of submission: Int) -> Bool {
        freeSlots.isTaken(number) && Int(slots[Int(number)].submission) == submission
    }

    /// Whether nothing of a submission queue is under way.
    public func isDrained(submission id: UInt16) -> Bool {
        guard let index = submissionIndex(id) else { return true }
        for number in 0..<UInt32(freeSlots.capacity) where isSlot(number, of: index) {
            return false
        }
        return true
    }

    /// Ends a removed and drained submission queue.
    public mutating func release(submission id: UInt16) {
        guard let index = submissionIndex(id) else { return }
        precondition(submissions[index].isLeaving && isDrained(submission: id))
        submissions[index].isGone = true
    }

    /// Aborts a command (Base §5.1).
    /// - Returns: whether it was found and ends as Command Abort Requested; false when a device
    ///   works on it, or it is not known.
    public mutating func abort(submission: UInt16, command: UInt16) -> Bool {
        guard phase.answers, let number = slot(submission, command) else { return false }
        guard replay?.isEmpty == true, withdraw(number) else { return false }
        finish(number, .abortRequested)
        return true
    }

    /// Whether a command has been taken and not answered.
    public func isUnderWay(submission: UInt16, command: UInt16) -> Bool {
        slot(submission, command) != nil
    }

    private func slot(_ submission: UInt16, _ command: UInt16) -> UInt32? {
        guard let index = submissionIndex(submission) else { return nil }
        for number in 0..<UInt32(freeSlots.capacity) where isSlot(number, of: index) {
            if slots[Int(number)].command == command { return number }
        }
        return nil
    }

    // --- namespaces ---

    /// Serves a namespace. Its id is free; the channel is at least `channelDepth` deep.
    public mutating func attach(_ namespace: NamespaceView, channel: BlockChannel) {
        precondition(namespace.id <= shape.namespaceLimit, "the controller has fewer namespaces")
        namespaces.attach(namespace, channel)
    }

    /// A namespace has another size, or other properties; legal at any time.
    public mutating func update(_ namespace: NamespaceView) { namespaces.update(namespace) }

    /// New commands for the namespace are refused; those under way go on.
    public mutating func detach(namespace id: UInt32) {
        if let place = namespaces.anyPlace(of: id) { namespaces.detach(place) }
    }

    /// Whether nothing of the namespace is under way.
    public func isDrained(namespace id: UInt32) -> Bool {
        guard let place = namespaces.anyPlace(of: id) else { return true }
        for number in 0..<freeSlots.capacity
        where freeSlots.isTaken(UInt32(number)) && Int(slots[number].place) == place {
            return false
        }
        return true
    }

    /// Gives up the channel of a detached and drained namespace.
    public mutating func release(namespace id: UInt32) {
        guard let place = namespaces.anyPlace(of: id) else { return }
        precondition(isDrained(namespace: id), "the namespace is in use")
        namespaces.release(place)
    }
}

extension BoundedQueue<UInt32> {
    /// Takes one element out of wherever it is.
    mutating func remove(_ element: UInt32) -> Bool {
        var found = false
        for _ in 0..<count {
            guard let next = pop() else { break }
            if next == element && !found { found = true } else { _ = push(next) }
        }
        return found
    }
}
