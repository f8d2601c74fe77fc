/// Parts of a list, by byte offset, and alignment.
extension SegmentList {
    /// A list of nothing.
    public static var empty: SegmentList {
        let anywhere = unsafe UnsafeMutablePointer<HostSegment>(
            bitPattern: MemoryLayout<HostSegment>.stride)
        return unsafe SegmentList(first: anywhere.unsafelyUnwrapped, count: 0)
    }

    /// Copies `target.byteCount` listed bytes, from byte `start` on, into `target`.
    public func gather(from start: Int, into target: HostSegment) {
        forEachPart(from: start, byteCount: target.byteCount) { part, offset in
            target.copy(from: part, at: offset)
        }
    }

    /// Copies all of `source` out to the listed places from byte `start` on.
    public func scatter(_ source: HostSegment, to start: Int) {
        forEachPart(from: start, byteCount: source.byteCount) { part, offset in
            part.copy(from: source.part(at: offset, byteCount: part.byteCount))
        }
    }

    /// Whether the listed bytes from byte `start` on are those of `source`, all of it.
    public func isEqual(to source: HostSegment, from start: Int) -> Bool {
        var same = true
        forEachPart(from: start, byteCount: source.byteCount) { part, offset in
            if same {
                same = part.isEqual(to: source.part(at: offset, byteCount: part.byteCount))
            }
        }
        return same
    }

    /// Calls `body` with each run of the `byteCount` bytes at `start`, and its distance from there.
    private func forEachPart(
        from start: Int, byteCount: Int, _ body: (HostSegment, Int) -> Void
    ) {
        precondition(start >= 0 && byteCount >= 0)
        var skipped = start
        var done = 0
        for index in 0..<count {
            if done == byteCount { return }
            let segment = self[index]
            if skipped >= segment.byteCount {
                skipped &-= segment.byteCount
                continue
            }
            let size = min(segment.byteCount &- skipped, byteCount &- done)
            body(segment.part(at: skipped, byteCount: size), done)
            skipped = 0
            done &+= size
        }
        precondition(done == byteCount, "past the end of the list")
    }

    /// Whether addresses and lengths are multiples of these powers of two.
    public func isAligned(addresses: Int, lengths: Int) -> Bool {
        let addressMask = UInt(addresses &- 1)
        let lengthMask = lengths &- 1
        for index in 0..<count {
            let segment = self[index]
            if segment.address & addressMask != 0 { return false }
            if segment.byteCount & lengthMask != 0 { return false }
        }
        return true
    }
}
