internal import CWire
internal import Memory

/// One chain of descriptors taken from a virtqueue. Readable segments come first.
struct Chain: BitwiseCopyable {
    /// What `use` gets back: head (split) or buffer id (packed).
    var id: UInt16 = 0
    /// Ring descriptors that it occupied.
    var descriptorCount: UInt16 = 0
    var flaw = Flaw.none
    /// Whether its last descriptor is writable and reachable: where a status can go.
    var endsWritable = false
    var readableCount = 0
    var writableCount = 0
    var readableBytes = 0
    var writableBytes = 0

    /// Why a chain cannot be served although it was taken off the ring in order.
    enum Flaw: UInt8, BitwiseCopyable {
        case none
        /// Points to memory that was not granted.
        case unreachable
        /// More segments than there is room for.
        case tooLong
        /// Readable after writable.
        case misordered
    }

    var segmentCount: Int { readableCount &+ writableCount }

    /// Adds the next segment.
    @inline(__always)
    mutating func add(_ segment: HostSegment, isWritable: Bool, to run: SegmentRun) {
        run.arena[run.start &+ readableCount &+ writableCount] = segment
        if isWritable {
            writableCount &+= 1
            writableBytes &+= segment.byteCount
        } else {
            if writableCount > 0 { flaw = .misordered }
            readableCount &+= 1
            readableBytes &+= segment.byteCount
        }
        endsWritable = isWritable
    }
}

/// Room for the segments of one chain: `limit` entries of the arena from `start` on.
struct SegmentRun: BitwiseCopyable {
    let arena: SegmentSpace
    let start: Int
    let limit: Int
}

extension Virtqueue {
    /// The most descriptors that one indirect table may have: what the longest legal chain needs.
    static let indirectLimit = 4096

    func indirectTable(address: UInt64, length: UInt32) throws(QueueFault) -> SharedTable {
        guard allowsIndirect, length > 0, length % 16 == 0,
            length / 16 <= UInt32(Virtqueue.indirectLimit),
            let bytes = memory.shared(at: address, byteCount: Int(length)),
            let table = SharedTable(bytes)
        else { throw .indirectTable }
        return table
    }

    /// Adds the memory of one descriptor to a chain.
    @inline(__always)
    mutating func add(
        address: UInt64, length: UInt32, isWritable: Bool, to chain: inout Chain,
        in run: SegmentRun
    ) {
        if let segment = window.segment(at: address, byteCount: length),
            chain.segmentCount < run.limit
        {
            chain.add(segment, isWritable: isWritable, to: run)
        } else {
            addSlowly(
                address: address, length: length, isWritable: isWritable, to: &chain, in: run)
        }
    }

    /// A descriptor elsewhere than the last one, across regions, beyond the room or unreachable.
    @inline(never)
    private mutating func addSlowly(
        address: UInt64, length: UInt32, isWritable: Bool, to chain: inout Chain,
        in run: SegmentRun
    ) {
        chain.endsWritable = false
        if let found = memory.window(at: address) { window = found }
        var address = address
        var left = Int(length)
        repeat {
            guard let segment = memory.segment(at: address, byteCount: left) else {
                chain.flaw = .unreachable
                return
            }
            if chain.segmentCount == run.limit {
                // The last place is kept for the latest segment: it may hold the status byte.
                chain.flaw = .tooLong
                run.arena[run.start &+ run.limit &- 1] = segment
            } else {
                chain.add(segment, isWritable: isWritable, to: run)
            }
            address &+= UInt64(segment.byteCount)
            left &-= segment.byteCount
        } while left > 0
        chain.endsWritable = isWritable
    }
}
