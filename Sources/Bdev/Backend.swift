public import Platform

/// One kind of storage behind a block device: null, malloc, aio, delay and so on.
///
/// The control-plane face; the data plane goes through the channels it opens.
public protocol Backend: AnyObject, Sendable {
    /// SPDK's product name, byte for byte: "Malloc disk".
    var productName: String { get }
    /// What it is now. Whoever changes it calls `BlockDevice.refreshGeometry` next.
    var geometry: BlockGeometry { get }
    var isReadOnly: Bool { get }
    func supports(_ operation: BlockOperation) -> Bool

    /// Opens a channel for one user on one reactor. Called on that reactor's thread; the channel
    /// is used and released there. `depth` bounds the outstanding requests.
    func openChannel(depth: Int, at site: ChannelSite) throws(SystemError) -> any BackendChannel

    /// Takes the lock that tells a successor of `holder` to wait (design, "Predecessor rule").
    func hold(for holder: UInt64) throws(SystemError)
    /// Whether requests of `holder`, perhaps a process long dead, may still be under way.
    func isHeld(by holder: UInt64) throws(SystemError) -> Bool
}

extension Backend {
    public var isReadOnly: Bool { false }

    /// Storage that ends with its process has nothing to lock.
    public func hold(for holder: UInt64) throws(SystemError) {}
    public func isHeld(by holder: UInt64) throws(SystemError) -> Bool { false }
}

public struct BlockGeometry: Equatable, Sendable {
    public var blockByteCount: Int
    public var blockCount: UInt64

    public init(blockByteCount: Int, blockCount: UInt64) {
        self.blockByteCount = blockByteCount
        self.blockCount = blockCount
    }

    public var byteCount: UInt64 { UInt64(blockByteCount) * blockCount }
}

/// The data-plane face of a backend: one user, one thread. Nothing here allocates, locks or blocks.
public protocol BackendChannel: AnyObject {
    /// Takes the requests at `range`, in order, as many as there is room for. `BlockChannel` has
    /// checked them: they lie on the device, which supports them, and fit the depth.
    /// - Returns: how many it took; the rest is offered again later.
    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int

    /// Appends finished requests while `completions` has room.
    func poll(into completions: inout CompletionBatch, now: Ticks)

    /// Ends now every request that no device is working on: as `.aborted` one that is held back or
    /// pending by injection, with its status one whose end was delayed. What is left ends by itself
    /// in bounded time.
    func abandonHeld()

    /// When polling is useful again without an event: a time in the past while completions wait to
    /// be polled, a timer of the channel, or nil when only an event can bring something.
    var wakeTime: Ticks? { get }
}
