internal import Bounded
public import Memory

/// Submission queues that come and go, doorbells that move, memory that is exchanged.
extension MirroredRings {
    func add(_ setup: SubmissionQueueSetup, isNew: Bool) throws(QueueFault) {
        guard Int(setup.id) < journalMemory.queueCount, setup.completionQueue == completion.id,
            submissionIndex(setup.id) == nil
        else { throw .badIdentifier }
        var place = submissions.count
        for index in 0..<submissions.count where submissions[index].isGone { place = index }
        if place == windows.count {
            let byteCount = 64 * MirrorSubmission.windowLength
            guard let window = staging.takePart(byteCount: byteCount) else { throw .stagingFull }
            windows.append(window)
        }
        let ring = try MirrorSubmission(
            setup, memory: memory, consumedCell: journalMemory.consumedCount(of: setup.id),
            window: windows[place].bytes)
        if place == submissions.count {
            submissions.append(ring)
        } else {
            submissions[place] = ring
        }
        if isNew { store(0, in: submissions[place].doorbell, place &+ 1) }
        wish = .polling
        emptyLooks = 0
    }

    func isSlot(_ number: UInt32, of submission: Int) -> Bool {
        freeSlots.isTaken(number) && Int(slots[Int(number)].submission) == submission
    }

    func isDrained(submission id: UInt16) -> Bool {
        guard let index = submissionIndex(id) else { return true }
        if stage == .lost { return underWay == 0 }
        if submissions[index].isReading { return false }
        for number in 0..<UInt32(slots.count) where isSlot(number, of: index) { return false }
        return stage != .opening || isParked
    }

    func release(submission id: UInt16) {
        guard let index = submissionIndex(id) else { return }
        precondition(submissions[index].isLeaving && isDrained(submission: id))
        submissions[index].isGone = true
    }

    /// The host's memory table has changed. What is not there any more parks the queue.
    /// - Precondition: the queue is drained.
    func exchange(memory new: RemoteMemory) {
        precondition(underWay == 0, "transfers still use the old keys")
        memory = new
        completion.resolve(in: new)
        for index in 0..<submissions.count { submissions[index].resolve(in: new) }
        wish = .polling
        emptyLooks = 0
        looksUnderWay = 0
    }

    // --- doorbells ---

    var isSettled: Bool { stores == 0 || stage == .lost || !phase.answers }

    /// The doorbells have moved (Doorbell Buffer Config). Their values go along.
    func exchange(head new: Doorbell) {
        completion.exchange(new, memory: memory)
        let value = completion.former.map { Int($0.loadAcquire32(at: 0) & 0xFFFF) }
        store(value ?? completion.knownHead, in: completion.doorbell, 0)
    }

    /// A new completion queue begins at 0, wherever its doorbell stands.
    func clearHead() { store(0, in: completion.doorbell, 0) }

    func exchange(tail new: Doorbell, of id: UInt16) {
        guard let index = submissionIndex(id) else { return }
        submissions[index].exchange(new, memory: memory)
        let value = submissions[index].former.map { Int($0.loadAcquire32(at: 0) & 0xFFFF) }
        store(value ?? submissions[index].knownTail, in: submissions[index].doorbell, index &+ 1)
        wish = .polling
        emptyLooks = 0
    }

    /// Doorbells are looked at again when the value is there.
    private func store(_ value: Int, in doorbell: MirrorDoorbell, _ place: Int) {
        switch doorbell {
        case .gone: break
        case .page(let bytes): bytes.storeRelease32(UInt32(value), at: 0)
        case .host(let address, _):
            cells.stored(place).store(UInt32(value))
            stores &+= 1
            add(.write, MirrorTag(.store, UInt32(place)), cells.stored(place), address)
        }
    }

    /// A driver that moves its doorbells writes both places meanwhile, and may have met our older
    /// value: then the newer one follows.
    func stored(_ place: Int) {
        stores &-= 1
        let (page, far) =
            place == 0
            ? (completion.former, completion.formerPlace)
            : (submissions[place &- 1].former, submissions[place &- 1].formerPlace)
        if let page {
            follow(Int(page.loadAcquire32(at: 0) & 0xFFFF), place)
        } else if let far {
            stores &+= 1
            add(.read, MirrorTag(.former, UInt32(place)), cells.former(place), far)
        }
    }

    /// The former doorbell of another machine has been read.
    func formerIsThere(_ place: Int) {
        stores &-= 1
        follow(Int(cells.former(place).load(UInt32.self) & 0xFFFF), place)
    }

    private func follow(_ value: Int, _ place: Int) {
        if value != Int(cells.stored(place).load(UInt32.self)) {
            let doorbell = place == 0 ? completion.doorbell : submissions[place &- 1].doorbell
            return store(value, in: doorbell, place)
        }
        if place == 0 {
            completion.former = nil
            completion.formerPlace = nil
        } else {
            submissions[place &- 1].former = nil
            submissions[place &- 1].formerPlace = nil
        }
    }
}

extension MirroredIOQueue {
    /// As `IOQueue.exchange(memory:)`.
    /// - Precondition: the queue is drained.
    public func exchange(memory: RemoteMemory) { rings.exchange(memory: memory) }
    /// The completion queue's doorbell has moved (Doorbell Buffer Config); `isSettled` says when.
    public func exchange(head: Doorbell) { rings.exchange(head: head) }
    /// A new queue begins at 0; `isSettled` says when its doorbell does. Before the first turn.
    public func clearHead() { rings.clearHead() }
    public func exchange(tail: Doorbell, of submission: UInt16) {
        rings.exchange(tail: tail, of: submission)
    }
}
