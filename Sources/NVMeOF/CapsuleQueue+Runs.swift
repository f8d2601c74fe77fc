internal import Bounded
internal import CWire
internal import Memory

/// Data that lies in several runs of memory that the target reaches.
extension CapsuleQueue {
    /// Puts a descriptor of each run behind the entry of a capsule, for a target that takes several
    /// (Fabrics §4.2).
    /// - Returns: how many; nil: too many for the target, or it does not reach all of them.
    func describeRuns(of command: CapsuleSlot, in capsule: HostSegment) -> Int? {
        let limit = min(descriptorLimit, shape.capsuleDataByteCount / Int(NVME_SGL_BYTES))
        if limit < 2 || direct.isEmpty || command.isRevoked { return nil }
        guard var walk = command.walk, let first = walk.next() else { return nil }
        var count = 0
        var start = UInt64(first.address)
        var byteCount = first.byteCount
        while true {
            let part = walk.next()
            if let part, UInt64(part.address) == start &+ UInt64(byteCount) {
                byteCount &+= part.byteCount
                continue
            }
            guard count < limit, let place = place(of: start, byteCount) else { return nil }
            let offset = Int(NVME_SQE_BYTES) &+ count &* Int(NVME_SGL_BYTES)
            capsule.store(place.address, at: offset)
            capsule.store(place.keyedLength(byteCount), at: offset &+ 8)
            count &+= 1
            guard let part else { return count }
            start = UInt64(part.address)
            byteCount = part.byteCount
        }
    }
}

extension RemoteAddress {
    /// The second half of a keyed data block descriptor for `byteCount` bytes there.
    func keyedLength(_ byteCount: Int) -> UInt64 {
        UInt64(byteCount) | UInt64(key) << UInt64(NVME_SGL_KEYED_LENGTH_BITS)
            | UInt64(NVME_SGL_KEYED_DATA_BLOCK) << 56
    }
}

extension CapsuleSlot {
    /// Its data, run by run; nil when none of it is in the memory of a request.
    fileprivate var walk: SegmentWalk? {
        switch transfer {
        case .nothing, .range: nil
        case .read(let list, let offset, let byteCount),
            .write(let list, let offset, let byteCount):
            SegmentWalk(list, from: offset, byteCount: byteCount)
        }
    }

    /// So many descriptors follow the entry.
    mutating func describeRuns(_ count: Int) {
        entry.prp1 = 0
        entry.prp2 =
            UInt64(count &* Int(NVME_SGL_BYTES)) | UInt64(NVME_SGL_LAST_SEGMENT_IN_CAPSULE) << 56
    }
}
