/// A bounded scatter list: some consecutive entries of a `SegmentArena`.
///
/// A view, valid until its arena is reused; its layout is that of an iovec array.
@safe
public struct SegmentList: BitwiseCopyable, @unchecked Sendable {
    // Sendable: as HostSegment.
    private let first: UnsafeMutablePointer<HostSegment>
    public let count: Int

    @unsafe init(first: UnsafeMutablePointer<HostSegment>, count: Int) {
        unsafe self.first = unsafe first
        self.count = count
    }

    public subscript(index: Int) -> HostSegment {
        precondition(index >= 0 && index < count, "segment past the end")
        return unsafe first[index]
    }

    /// Total size.
    public var byteCount: Int {
        var total = 0
        for index in 0..<count { total &+= unsafe first[index].byteCount }
        return total
    }

    /// The entries from `start` on.
    public func dropping(_ start: Int, keeping kept: Int) -> SegmentList {
        precondition(start >= 0 && kept >= 0 && start <= count &- kept)
        return unsafe SegmentList(first: first + start, count: kept)
    }

    /// Whether every address and length is a multiple of `alignment` (a power of two).
    public func isAligned(to alignment: Int) -> Bool {
        let mask = UInt(alignment &- 1)
        for index in 0..<count {
            let segment = unsafe first[index]
            if (segment.address | UInt(segment.byteCount)) & mask != 0 { return false }
        }
        return true
    }

    /// Copies the listed bytes into `target`, which has room for them all.
    public func gather(into target: HostSegment) {
        var offset = 0
        for index in 0..<count {
            let segment = unsafe first[index]
            target.copy(from: segment, at: offset)
            offset &+= segment.byteCount
        }
    }

    /// Copies `source`, which is as long as the list, out to the listed places.
    public func scatter(from source: HostSegment) {
        var offset = 0
        for index in 0..<count {
            let segment = unsafe first[index]
            segment.copy(from: source.part(at: offset, byteCount: segment.byteCount))
            offset &+= segment.byteCount
        }
    }

    /// Copies the first bytes out as one value, wherever the segments divide it.
    /// - Precondition: the list is long enough.
    public func load<Value: BitwiseCopyable>(_ type: Value.Type) -> Value {
        let size = MemoryLayout<Value>.size
        if self[0].byteCount >= size { return self[0].load(type) }
        return unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            let target = unsafe HostSegment(
                base: buffer.baseAddress.unsafelyUnwrapped, byteCount: size)
            var filled = 0
            var index = 0
            while filled < size {
                let segment = self[index]
                let taken = min(segment.byteCount, size &- filled)
                target.copy(from: segment.part(at: 0, byteCount: taken), at: filled)
                filled &+= taken
                index &+= 1
            }
            return target.load(type)
        }
    }

    public func fill(with byte: UInt8) {
        for index in 0..<count { unsafe first[index].fill(with: byte) }
    }

    /// For calls that take an iovec array.
    @unsafe public var pointer: UnsafeMutablePointer<HostSegment> { unsafe first }
}

/// A view of a `SegmentArena`: the places that scatter lists are written to. Valid while it lives.
@safe
public struct SegmentSpace: BitwiseCopyable, @unchecked Sendable {
    // Sendable: as HostSegment.
    private let storage: UnsafeMutablePointer<HostSegment>
    public let capacity: Int

    @unsafe init(storage: UnsafeMutablePointer<HostSegment>, capacity: Int) {
        unsafe self.storage = unsafe storage
        self.capacity = capacity
    }

    public subscript(index: Int) -> HostSegment {
        get {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: capacity), "segment past the end")
            return unsafe storage[index]
        }
        nonmutating set {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: capacity), "segment past the end")
            unsafe storage[index] = newValue
        }
    }

    public func list(at start: Int, count: Int) -> SegmentList {
        precondition(start >= 0 && count >= 0 && start <= capacity &- count)
        return unsafe SegmentList(first: storage + start, count: count)
    }
}

/// Storage for scatter lists, made once.
@safe
public struct SegmentArena: ~Copyable {
    private let storage: UnsafeMutablePointer<HostSegment>
    private let capacity: Int

    public init(capacity: Int) {
        precondition(capacity > 0)
        unsafe storage = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { unsafe storage.deallocate() }

    public var space: SegmentSpace { unsafe SegmentSpace(storage: storage, capacity: capacity) }

    public subscript(index: Int) -> HostSegment {
        get { space[index] }
        nonmutating set { space[index] = newValue }
    }

    public func list(at start: Int, count: Int) -> SegmentList {
        space.list(at: start, count: count)
    }
}
