internal import CWire
internal import Memory

/// Gathers the segments of one chain, descriptor by descriptor.
struct ChainCollector {
    var chain = Chain()
    private let start: Int
    private let limit: Int
    private var stored = 0

    init(start: Int, limit: Int) {
        self.start = start
        self.limit = limit
    }

    /// Adds the memory of one descriptor. Oddities are remembered in the chain's flaw.
    mutating func add(
        address: UInt64, length: UInt32, isWritable: Bool, memory: HostMemory,
        arena: borrowing SegmentArena
    ) {
        if !isWritable && chain.writableCount > 0 { chain.flaw = .misordered }
        chain.endsWritable = false
        var address = address
        var left = Int(length)
        // A descriptor may span regions that lie side by side.
        repeat {
            guard let segment = memory.segment(at: address, byteCount: left) else {
                chain.flaw = .unreachable
                return
            }
            if stored == limit {
                // Keep the last place for the latest segment: it may hold the status byte.
                chain.flaw = .tooLong
                arena[start &+ limit &- 1] = segment
            } else {
                arena[start &+ stored] = segment
                stored &+= 1
                if isWritable { chain.writableCount &+= 1 } else { chain.readableCount &+= 1 }
            }
            address &+= UInt64(segment.byteCount)
            left &-= segment.byteCount
        } while left > 0
        chain.endsWritable = isWritable && length > 0
    }
}

extension Virtqueue {
    /// The most descriptors that one indirect table may have: what the longest legal chain needs.
    static let indirectLimit = 4096

    func indirectTable(address: UInt64, length: UInt32) throws(QueueFault) -> SharedBytes {
        guard allowsIndirect, length > 0, length % 16 == 0,
            length / 16 <= UInt32(Virtqueue.indirectLimit),
            let table = memory.shared(at: address, byteCount: Int(length))
        else { throw .indirectTable }
        return table
    }
}
