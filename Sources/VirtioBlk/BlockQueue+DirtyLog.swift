internal import CWire
public import Memory

/// What a front end wants to know of a queue's writes while it copies the guest's memory.
public struct DirtyMarks: Sendable {
    public var log: DirtyLog
    /// Guest address of the device area; nil: writes to the ring are not logged
    /// (VHOST_VRING_F_LOG).
    public var deviceArea: UInt64?

    public init(_ log: DirtyLog, deviceArea: UInt64?) {
        self.log = log
        self.deviceArea = deviceArea
    }
}

/// Marking what the device has written (vhost-user.rst, "Migration").
///
/// A page is marked after it was written: before, it could be copied too early. Whoever dies in
/// between leaves the mark to its successor:
///
/// - Data and status are marked before the in-flight log can say that the request is over. Until
///   then a successor does it again, and marks again.
/// - The ring is marked after the used index has moved. A successor marks all of it when it starts.
/// - What a predecessor's requests may have written is marked when its successor takes them over:
///   a reset could end them before they run again.
extension BlockQueue {
    /// From now on marks by `marks`; nil marks nothing. What is under way is marked at its end.
    public mutating func setDirtyMarks(_ marks: DirtyMarks?) {
        dirty = marks
        markRing()
    }

    /// Whether the log was cut short.
    var hasLostMarks: Bool { dirty != nil && dirty?.log.isDead == true }

    /// What a request has written: its data, as far as it came, and its status.
    @inline(never)
    func markAnswer(_ entry: Slot, hasStatus: Bool) {
        guard let dirty else { return }
        for index in 0..<entry.input.count { ring.memory.mark(entry.input[index], in: dirty.log) }
        if hasStatus { ring.memory.mark(entry.status, in: dirty.log) }
    }

    /// All that a device writes of the ring.
    func markRing() {
        guard let dirty, let deviceArea = dirty.deviceArea else { return }
        dirty.log.mark(deviceArea, byteCount: ring.deviceArea.byteCount)
        if ring.isPacked { ring.memory.mark(ring.descriptors.segment, in: dirty.log) }
    }

    /// The used entries from `start` to the present one, and the used index.
    @inline(never)
    func markUsed(since start: UInt16) {
        guard let dirty, let deviceArea = dirty.deviceArea else { return }
        let end = Int(ring.position.nextUsed)
        if ring.isPacked {
            let (first, last) = (Int(start), end)
            guard first < last else { return markRing() }
            let used = ring.descriptors.part(at: 16 &* first, byteCount: 16 &* (last &- first))
            ring.memory.mark(used.segment, in: dirty.log)
        } else {
            let mask = ring.size &- 1
            let (first, last) = (Int(start) & mask, end & mask)
            dirty.log.mark(deviceArea, byteCount: 4)
            guard first < last else { return markRing() }
            dirty.log.mark(
                deviceArea &+ 4 &+ 8 &* UInt64(first), byteCount: 8 &* (last &- first))
        }
    }

    /// The device's wishes about kicks: before and after the used ring, or all of the device area.
    @inline(never)
    func markKickWish() {
        guard let dirty, let deviceArea = dirty.deviceArea else { return }
        let byteCount = ring.deviceArea.byteCount
        dirty.log.mark(deviceArea, byteCount: 4)
        dirty.log.mark(deviceArea &+ UInt64(byteCount &- 2), byteCount: 2)
    }

    /// What a predecessor's requests may have written.
    mutating func markReplay() {
        guard let dirty, !replay.isEmpty, let long = room.takeLong() else { return }
        defer { room.giveBackLong(long) }
        let run = room.longRun(long)
        for head in replay.heads {
            var chain = Chain()
            do throws(QueueFault) {
                if packedLog != nil {
                    packedLog?.read(head, into: &ring.copy)
                    try ring.collectCopy(&chain, into: run)
                } else {
                    try ring.collectSplit(head: head, &chain, into: run)
                }
            } catch { continue }  // The queue fails when it comes to it.
            let stored = min(chain.segmentCount, run.limit)
            for index in min(chain.readableCount, stored)..<stored {
                ring.memory.mark(run.arena[run.start &+ index], in: dirty.log)
            }
        }
    }
}
