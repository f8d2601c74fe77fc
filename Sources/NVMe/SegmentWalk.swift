internal import Memory

/// Why a data pointer gave no segments.
enum DataFault: Error {
    case refused(NVMeStatus)
    /// The run is full; a longer one may do.
    case runFull
}

/// Makes segments of guest addresses: what lies side by side becomes one.
struct SegmentWalk {
    let memory: HostMemory
    /// The region that was looked into last.
    var window: HostWindow
    private let run: SegmentRun
    private(set) var count = 0
    private var start: UInt64 = 0
    private var byteCount: UInt64 = 0

    init(_ memory: HostMemory, _ window: HostWindow, into run: SegmentRun) {
        self.memory = memory
        self.window = window
        self.run = run
    }

    mutating func add(_ address: UInt64, byteCount added: Int) throws(DataFault) {
        if added == 0 { return }
        if address == start &+ byteCount && byteCount > 0 {
            byteCount &+= UInt64(added)
        } else {
            try flush()
            start = address
            byteCount = UInt64(added)
        }
    }

    /// Looks the pending run up and puts it into the list.
    private mutating func flush() throws(DataFault) {
        while byteCount > 0 {
            if let whole = segment(start, byteCount: Int(byteCount)) {
                try place(whole)
                byteCount = 0
                return
            }
            // Not all of it in one region.
            guard let part = memory.segment(at: start, byteCount: Int(byteCount)) else {
                throw .refused(.dataTransferError)
            }
            try place(part)
            let (next, wraps) = start.addingReportingOverflow(UInt64(part.byteCount))
            byteCount &-= UInt64(part.byteCount)
            if wraps && byteCount > 0 { throw .refused(.dataTransferError) }
            start = next
        }
    }

    private mutating func place(_ segment: HostSegment) throws(DataFault) {
        guard count < run.limit else { throw .runFull }
        run.arena[run.start &+ count] = segment
        count &+= 1
    }

    /// All of the bytes at `address`; nil when they do not lie in one region.
    mutating func segment(_ address: UInt64, byteCount: Int) -> HostSegment? {
        if let found = window.segment(at: address, byteCount: UInt32(byteCount)) { return found }
        guard let other = memory.window(at: address) else { return nil }
        window = other
        return window.segment(at: address, byteCount: UInt32(byteCount))
    }

    /// Ends the walk.
    mutating func list() throws(DataFault) -> SegmentList {
        try flush()
        return run.arena.list(at: run.start, count: count)
    }
}
