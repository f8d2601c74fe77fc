internal import Bounded
internal import Memory

/// The staging area of an I/O queue and the command that has it. One command at a time: Compare,
/// Verify, Dataset Management, and the fused Compare and Write; the others wait in their order.
struct Stage: ~Copyable {
    enum Kind { case compare, verify, ranges, fused }

    struct Use {
        let kind: Kind
        let number: UInt32
        let block: UInt64
        let blockShift: UInt64
        let byteCount: Int
        /// Host memory to compare with.
        var list = SegmentList.empty
        /// Fused: what is written, by which slot, and how.
        var newData = SegmentList.empty
        var second: UInt32 = 0
        var flushes = false
        /// A predecessor may have written already.
        var isUnsettled = false
        /// Bytes, or ranges, behind us.
        var done = 0
        var chunk = 0
    }

    let memory: HostSegment
    /// Slots that wait for the area.
    var queue: BoundedQueue<UInt32>
    var current: Use?
    /// A fused pair: it waits until it is alone, then it runs alone.
    var pair: FusedPair?

    struct FusedPair {
        let first: UInt32
        let second: UInt32
    }

    init(_ memory: HostSegment, slotCount: Int) {
        self.memory = memory
        queue = BoundedQueue(capacity: slotCount)
    }

    var isExclusive: Bool { pair != nil }
    /// Whether nothing waits and nothing runs.
    var isIdle: Bool { queue.isEmpty && pair == nil }
}
