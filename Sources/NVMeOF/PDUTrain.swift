internal import Bounded
internal import Memory

/// One thing to send.
struct OutgoingPDU: BitwiseCopyable {
    enum Kind: BitwiseCopyable {
        case initialize
        case capsule
        /// What an R2T asked for; as several PDUs when it is much.
        case data
    }

    var kind: Kind
    var slot: UInt16 = 0
    var transferTag: UInt16 = 0
    var offset = 0
    var byteCount = 0
}

/// PDUs that are sent together: a scatter list of their headers, data and digests. The next train
/// is made when this one is through, so every list of it stays in place.
struct PDUTrain: ~Copyable {
    static let pduLimit = 16
    static let segmentLimit = 512
    /// Segments of data of one PDU that are sent from where they are.
    static let dataSegmentLimit = 384

    /// A PDU whose last byte is the `end`th of the train.
    struct Member: BitwiseCopyable {
        let end: Int
        /// The command of which one thing less is unsent then.
        let slot: UInt16?
    }

    private let arena = SegmentArena(capacity: segmentLimit)
    /// By segment: the command whose memory it is, if that is to be sent pinned.
    private var owners = FixedTable<UInt16>(count: segmentLimit, repeating: PDUTrain.nobody)
    private static let nobody = UInt16.max
    /// Whether any segment has an owner.
    private var hasPinned = false
    private var segmentCount = 0
    private var firstSegment = 0
    private var members = BoundedArray<Member>(capacity: pduLimit)
    private var firstMember = 0
    private var byteCount = 0
    private var sentByteCount = 0
    /// Bytes of the staging area in use.
    var stagedByteCount = 0

    var isThrough: Bool { firstSegment == segmentCount }
    var memberCount: Int { members.count }
    var isFull: Bool { members.isFull }
    var segmentRoom: Int { PDUTrain.segmentLimit &- segmentCount }

    /// What is to be sent next, all of it pinned or nothing.
    var rest: SegmentList {
        var end = segmentCount
        if hasPinned && !isThrough {
            let owner = owners[firstSegment]
            end = firstSegment &+ 1
            while end < segmentCount && owners[end] == owner { end &+= 1 }
        }
        return arena.list(at: firstSegment, count: end &- firstSegment)
    }

    /// The command whose data is next and to be sent pinned.
    var pinnedSlot: UInt16? {
        if !hasPinned || isThrough || owners[firstSegment] == PDUTrain.nobody { return nil }
        return owners[firstSegment]
    }

    /// Whether something follows `list`, which is `rest`.
    func isFollowed(_ list: SegmentList) -> Bool { firstSegment &+ list.count < segmentCount }

    mutating func clear() {
        precondition(isThrough)
        segmentCount = 0
        firstSegment = 0
        members.removeAll()
        firstMember = 0
        byteCount = 0
        sentByteCount = 0
        stagedByteCount = 0
        hasPinned = false
    }

    /// - Parameter owner: the command whose memory it is, when that may be sent pinned.
    mutating func append(_ segment: HostSegment, owner: UInt16? = nil) {
        if segment.byteCount == 0 { return }
        arena[segmentCount] = segment
        owners[segmentCount] = owner ?? PDUTrain.nobody
        if owner != nil { hasPinned = true }
        segmentCount &+= 1
        byteCount &+= segment.byteCount
    }

    /// Everything appended since the last call is one PDU.
    mutating func closeMember(slot: UInt16?) {
        members.append(Member(end: byteCount, slot: slot))
    }

    mutating func advance(_ count: Int) {
        sentByteCount &+= count
        var left = count
        while left > 0 {
            let segment = arena[firstSegment]
            if left < segment.byteCount {
                arena[firstSegment] = segment.part(
                    at: left, byteCount: segment.byteCount &- left)
                return
            }
            left &-= segment.byteCount
            firstSegment &+= 1
        }
    }

    /// The next member that has been sent to its last byte.
    mutating func nextSent() -> Member? {
        guard firstMember < members.count, members[firstMember].end <= sentByteCount else {
            return nil
        }
        firstMember &+= 1
        return members[firstMember &- 1]
    }
}
