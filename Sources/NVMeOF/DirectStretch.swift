internal import Bounded
public import Memory

/// Memory of this process that a target reaches by a key.
public struct DirectStretch: BitwiseCopyable, Sendable {
    let address: UInt64
    let byteCount: UInt64
    let place: RemoteAddress

    public init(address: UInt64, byteCount: UInt64, place: RemoteAddress) {
        self.address = address
        self.byteCount = byteCount
        self.place = place
    }

    /// The place of the `size` bytes at `start`; nil when they do not all lie in the stretch.
    func place(of start: UInt64, _ size: Int) -> RemoteAddress? {
        let offset = start &- address
        guard offset < byteCount, UInt64(size) <= byteCount &- offset else { return nil }
        return place.advanced(by: Int(offset))
    }
}

extension SegmentList {
    /// Where the `byteCount` bytes at `start` begin; nil when they do not lie in one run.
    func run(from start: Int, _ byteCount: Int) -> UInt64? {
        var walk = SegmentWalk(self, from: start, byteCount: byteCount)
        guard let first = walk.next() else { return nil }
        var end = UInt64(first.address) &+ UInt64(first.byteCount)
        while let part = walk.next() {
            if UInt64(part.address) != end { return nil }
            end &+= UInt64(part.byteCount)
        }
        return UInt64(first.address)
    }
}
