internal import Memory

/// Physical region pages (Base §4.1.1).
extension SegmentWalk {
    private static let page = QueueShape.pageByteCount

    /// Adds the `byteCount` bytes that PRP entries 1 and 2 describe.
    mutating func addPages(
        _ first: UInt64, _ second: UInt64, byteCount: Int
    ) throws(DataFault) {
        guard first & 3 == 0 else { throw .refused(.prpOffset) }
        let offset = Int(first & UInt64(Self.page - 1))
        let head = min(byteCount, Self.page &- offset)
        try add(first, byteCount: head)
        let left = byteCount &- head
        if left == 0 { return }
        if left <= Self.page { return try addPage(second, byteCount: left) }
        try addPageList(at: second, byteCount: left)
    }

    private mutating func addPage(_ entry: UInt64, byteCount: Int) throws(DataFault) {
        guard entry & UInt64(Self.page - 1) == 0 else { throw .refused(.prpOffset) }
        try add(entry, byteCount: byteCount)
    }

    /// A PRP list: entries to the end of their page, whose last one names the next page when more
    /// are needed.
    private mutating func addPageList(at address: UInt64, byteCount: Int) throws(DataFault) {
        guard address & 7 == 0 else { throw .refused(.prpOffset) }
        var address = address
        var left = byteCount
        while left > 0 {
            let room = (Self.page &- Int(address & UInt64(Self.page - 1))) / 8
            let needed = (left &+ Self.page &- 1) / Self.page
            let entries = needed > room ? room &- 1 : needed
            let words = needed > room ? room : needed
            guard let table = segment(address, byteCount: words &* 8) else {
                throw .refused(.dataTransferError)
            }
            for index in 0..<entries {
                let size = min(left, Self.page)
                try addPage(table.loadWord(at: 8 &* index), byteCount: size)
                left &-= size
            }
            if left == 0 { return }
            address = table.loadWord(at: 8 &* entries)
            guard address & UInt64(Self.page - 1) == 0 else { throw .refused(.prpOffset) }
        }
    }
}
