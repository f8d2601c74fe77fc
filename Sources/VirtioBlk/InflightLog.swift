internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// What a successor must know of the requests under way: the in-flight area of one split queue, in
/// the layout of QEMU's vhost-user.rst ("Inflight I/O tracking"). It lies in function memory, or in
/// a region that the front end keeps.
///
/// Stores are ordered so that a crash between any two of them loses nothing and repeats nothing:
/// a head is logged before the consumed index can be derived to include it, and is cleared after
/// its used entry can be seen.
struct InflightLog: ~Copyable {
    private enum Layout {
        static let header = MemoryLayout<vhost_inflight_split_queue>.size
        static let entry = MemoryLayout<vhost_inflight_split_entry>.size
        static let version = 8
        static let descriptorCount = 10
        static let lastBatchHead = 12
        static let usedIndex = 14
        static let next = 6
        static let counter = 8
    }

    private let area: SharedBytes
    private let size: Int
    /// Counter of the next head.
    private(set) var nextCounter: UInt64 = 0
    private var batch: BoundedArray<UInt16>
    private var lastBatchHead: UInt16
    /// Whether nobody has used the area before.
    let isFresh: Bool

    /// Bytes that the area of one queue takes.
    static func byteCount(queueSize: Int) -> Int {
        (Layout.header + Layout.entry * queueSize + 63) & ~63
    }

    /// Takes an area: a fresh (zeroed) one is made ready, a used one is adopted.
    /// - Parameter usedIndex: the ring's own, which a fresh log starts from.
    init(area: SharedBytes, queueSize: Int, usedIndex: UInt16) throws(QueueFault) {
        guard area.byteCount >= InflightLog.byteCount(queueSize: queueSize), area.address % 8 == 0
        else { throw .inflightRegion }
        let version = area.loadAcquire16(at: Layout.version)
        let recordedSize = Int(area.load(UInt16.self, at: Layout.descriptorCount))
        guard version == 0 || (version == 1 && recordedSize == queueSize) else {
            throw .inflightRegion
        }
        self.area = area
        size = queueSize
        isFresh = version == 0
        // What one turn takes and refuses, and what was under way before it.
        batch = BoundedArray(capacity: queueSize + BlockQueue.turnLimit)
        lastBatchHead = area.load(UInt16.self, at: Layout.lastBatchHead)
        if isFresh {
            area.store(UInt16(queueSize), at: Layout.descriptorCount)
            area.storeRelease16(usedIndex, at: Layout.usedIndex)
            area.storeRelease16(1, at: Layout.version)
        } else {
            settleLastBatch(usedIndex: usedIndex)
        }
    }

    private func offset(_ head: Int) -> Int { Layout.header &+ Layout.entry &* head }

    /// Clears the heads of a batch that was published, but not yet cleared, when its owner died.
    private func settleLastBatch(usedIndex: UInt16) {
        var left = Int(usedIndex &- area.loadAcquire16(at: Layout.usedIndex))
        // More than a ring: the driver has started afresh, the old batch means nothing.
        if left > size { left = 0 }
        var head = Int(area.load(UInt16.self, at: Layout.lastBatchHead))
        while left > 0, head < size {
            area.storeRelease8(0, at: offset(head))
            head = Int(area.load(UInt16.self, at: offset(head) &+ Layout.next))
            left &-= 1
        }
        area.storeRelease16(usedIndex, at: Layout.usedIndex)
    }

    /// Heads under way, oldest first.
    func outstanding() -> [UInt16] {
        var found: [(head: UInt16, counter: UInt64)] = []
        for head in 0..<size where area.loadAcquire8(at: offset(head)) == 1 {
            found.append((UInt16(head), area.load(UInt64.self, at: offset(head) &+ Layout.counter)))
        }
        return found.sorted { $0.counter < $1.counter }.map(\.head)
    }

    /// Goes on counting after the newest of `heads`.
    mutating func adopt(_ heads: [UInt16]) {
        for head in heads {
            let seen = area.load(UInt64.self, at: offset(Int(head)) &+ Layout.counter)
            nextCounter = max(nextCounter, seen &+ 1)
        }
    }

    /// A chain was taken off the ring.
    mutating func began(_ head: UInt16) {
        let entry = offset(Int(head))
        area.store(nextCounter, at: entry &+ Layout.counter)
        nextCounter &+= 1
        // Pairs with `outstanding` of a successor: the counter is there when the mark is.
        area.storeRelease8(1, at: entry)
        CrashPoint.journalBegan.reached()
    }

    /// A chain is about to be used; the used index has not moved yet.
    mutating func ending(_ head: UInt16) {
        area.store(lastBatchHead, at: offset(Int(head)) &+ Layout.next)
        lastBatchHead = head
        area.storeRelease16(head, at: Layout.lastBatchHead)
        batch.append(head)
        CrashPoint.journalEnding.reached()
    }

    /// The used index has moved to `usedIndex`: the batch is the driver's now.
    mutating func ended(usedIndex: UInt16) {
        CrashPoint.completionPosted.reached()
        for index in 0..<batch.count { area.storeRelease8(0, at: offset(Int(batch[index]))) }
        // Pairs with `settleLastBatch`: marks are cleared before the index says so.
        area.storeRelease16(usedIndex, at: Layout.usedIndex)
        batch.removeAll()
        CrashPoint.journalEnded.reached()
    }
}
