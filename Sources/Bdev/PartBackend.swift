internal import Bounded
public import Platform

/// A part of another device, or all of it: SPDK's split and passthru.
public final class PartBackend: Backend {
    public let productName: String
    public let base: BlockDevice
    /// First block of the part.
    public let offset: UInt64
    private let blockCount: UInt64?

    /// All of `base`, whatever its size becomes.
    public init(_ base: BlockDevice) {
        productName = "passthru"
        self.base = base
        offset = 0
        blockCount = nil
    }

    /// The blocks at `range`. EINVAL: they do not lie on `base`.
    public init(_ base: BlockDevice, _ range: Range<UInt64>) throws(BdevError) {
        guard range.upperBound <= base.geometry.blockCount, !range.isEmpty else {
            throw .invalid("blocks \(range) do not lie on bdev \"\(base.name)\"")
        }
        productName = "Split Disk"
        self.base = base
        offset = range.lowerBound
        blockCount = UInt64(range.count)
    }

    /// A split keeps its size; what the base has lost fails there.
    public var geometry: BlockGeometry {
        let base = base.geometry
        return BlockGeometry(
            blockByteCount: base.blockByteCount, blockCount: blockCount ?? base.blockCount)
    }

    public var isReadOnly: Bool { base.backend.isReadOnly }
    public func supports(_ operation: BlockOperation) -> Bool { base.backend.supports(operation) }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        PartChannel(try base.openChannel(depth: depth, at: site), offset: offset)
    }

    public func hold(for holder: UInt64) throws(SystemError) { try base.backend.hold(for: holder) }
    public func isHeld(by holder: UInt64) throws(SystemError) -> Bool {
        try base.backend.isHeld(by: holder)
    }
}

private final class PartChannel: BackendChannel {
    private let base: BlockChannel
    private let offset: UInt64
    private var moved: RequestBatch

    init(_ base: BlockChannel, offset: UInt64) {
        self.base = base
        self.offset = offset
        moved = RequestBatch(capacity: base.depth)
    }

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        if offset == 0 { return base.submit(batch, range, now: now) }
        moved.removeAll()
        for index in range {
            var request = batch[index]
            request.block &+= offset
            moved.append(request)
        }
        return base.submit(moved, from: 0, now: now)
    }

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        base.poll(into: &completions, now: now)
    }

    func abandonHeld() { base.abandonHeld() }
    var wakeTime: Ticks? { base.wakeTime }
}
