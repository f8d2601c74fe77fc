public import Platform
internal import Synchronization

/// A named block device: one backend, its users and its figures.
///
/// The control-plane face. Users on a reactor open a `BlockChannel` each; the two planes meet in
/// atomics of this object, never in its lock.
public final class BlockDevice: Sendable {
    public let name: String
    public let uuid: UUID
    /// Other names it can be found by; its uuid is one of them.
    public let aliases: [String]
    public let backend: any Backend

    let blockByteCount: Int
    let blockCount: Atomic<UInt64>
    let limiter = RateLimiter()
    let histogram = HistogramSwitch()
    let extremesEpoch = Atomic<UInt64>(0)
    private let state = Mutex(State())

    private struct State {
        var phase = Phase.present
        var uses: [BlockDeviceUse] = []
        var channels: [ChannelCounters] = []
        /// Sums of the channels that have closed.
        var retired = IOStatistics()
        /// What the sums were at the last reset.
        var baseline = IOStatistics()

        /// Takes the closed channels' counters into `retired`.
        mutating func retireClosed(extremesEpoch epoch: UInt64) {
            var kept: [ChannelCounters] = []
            for counters in channels {
                // Pairs with the releasing store in `BlockChannel.deinit`: these are final.
                if counters.isClosed.load(ordering: .acquiring) {
                    retired += counters.snapshot(extremesEpoch: epoch)
                } else {
                    kept.append(counters)
                }
            }
            channels = kept
        }
    }

    private enum Phase {
        case present
        /// No new users; the continuations are resumed when the last one has closed.
        case leaving([CheckedContinuation<Void, Never>])
        case gone
    }

    public init(
        name: String, uuid: UUID = .random(), aliases: [String] = [], backend: any Backend
    ) {
        self.name = name
        self.uuid = uuid
        self.aliases = aliases + [uuid.description]
        self.backend = backend
        let geometry = backend.geometry
        precondition(geometry.blockByteCount > 0, "a block has at least one byte")
        blockByteCount = geometry.blockByteCount
        blockCount = Atomic(geometry.blockCount)
    }

    public var geometry: BlockGeometry {
        BlockGeometry(
            blockByteCount: blockByteCount, blockCount: blockCount.load(ordering: .relaxed))
    }

    public var isClaimed: Bool { state.withLock { $0.uses.contains { $0.claims } } }
    public var users: [String] { state.withLock { $0.uses.map(\.user) } }

    // MARK: Users

    /// Registers a user of the device.
    ///
    /// - Parameters:
    ///   - user: names it in messages: `nvme controller "c1" namespace 1`.
    ///   - claims: whether it may be the only claiming user; EPERM when another has the claim.
    ///   - onEvent: called from any thread, without a lock held, until the use is closed.
    public func open(
        for user: String, claims: Bool = false,
        onEvent: @escaping @Sendable (BlockDeviceEvent) -> Void
    ) throws(BdevError) -> BlockDeviceUse {
        let use = BlockDeviceUse(device: self, user: user, claims: claims, onEvent: onEvent)
        let refusal: BdevError? = state.withLock { state in
            guard case .present = state.phase else { return .unknown(name) }
            if claims, let owner = state.uses.first(where: \.claims) {
                return BdevError(
                    ErrorNumber.notPermitted, "bdev \"\(name)\" is claimed by \(owner.user)")
            }
            state.uses.append(use)
            return nil
        }
        if let refusal { throw refusal }
        return use
    }

    func close(_ use: BlockDeviceUse) {
        let waiting: [CheckedContinuation<Void, Never>] = state.withLock { state in
            state.uses.removeAll { $0 === use }
            guard case .leaving(let waiting) = state.phase, state.uses.isEmpty else { return [] }
            state.phase = .gone
            return waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Tells every user to let go and returns when the last one has. Called again, it waits too.
    func leave() async {
        await withCheckedContinuation { continuation in
            let told: [BlockDeviceUse]? = state.withLock { state in
                switch state.phase {
                case .gone: return nil
                case .leaving(let waiting):
                    state.phase = .leaving(waiting + [continuation])
                    return []
                case .present:
                    if state.uses.isEmpty {
                        state.phase = .gone
                        return nil
                    }
                    state.phase = .leaving([continuation])
                    return state.uses
                }
            }
            guard let told else { return continuation.resume() }
            for use in told { use.onEvent(.removed) }
        }
    }

    /// Publishes the backend's geometry.
    /// - Returns: whether the block count is another one now; the users have been told then.
    @discardableResult
    public func refreshGeometry() -> Bool {
        let new = backend.geometry.blockCount
        if blockCount.exchange(new, ordering: .relaxed) == new { return false }
        for use in state.withLock({ $0.uses }) { use.onEvent(.resized(blockCount: new)) }
        return true
    }

    // MARK: Channels

    /// Opens a channel for one user on the reactor whose thread calls; it is used there only.
    ///
    /// - Parameter depth: the most requests outstanding at once; tags are below it.
    public func openChannel(depth: Int, at site: ChannelSite) throws(SystemError) -> BlockChannel {
        let channel = try backend.openChannel(depth: depth, at: site)
        let epoch = extremesEpoch.load(ordering: .relaxed)
        let counters = ChannelCounters(extremesEpoch: epoch)
        state.withLock { state in
            state.retireClosed(extremesEpoch: epoch)
            state.channels.append(counters)
        }
        return BlockChannel(device: self, channel: channel, counters: counters, depth: depth)
    }

    // MARK: Figures

    /// Sums over all channels since the last reset; `reset` takes effect together with the reading.
    public func statistics(reset: IOStatistics.Reset = .nothing) -> IOStatistics {
        state.withLock { state in
            let epoch = extremesEpoch.load(ordering: .relaxed)
            state.retireClosed(extremesEpoch: epoch)
            var total = state.retired
            for counters in state.channels { total += counters.snapshot(extremesEpoch: epoch) }
            let sinceReset = total.since(state.baseline)
            switch reset {
            case .nothing: return sinceReset
            case .errors:
                state.baseline.takeErrors(of: total)
                return sinceReset
            case .extremes: break
            case .all: state.baseline = total
            }
            state.retired.forgetExtremes()
            extremesEpoch.store(epoch + 1, ordering: .relaxed)
            return sinceReset
        }
    }

    /// Each open channel's counters since it was opened, with the kernel id of its thread.
    public func channelStatistics() -> [(threadID: Int32, statistics: IOStatistics)] {
        state.withLock { state in
            let epoch = extremesEpoch.load(ordering: .relaxed)
            state.retireClosed(extremesEpoch: epoch)
            return state.channels.map { ($0.threadID, $0.snapshot(extremesEpoch: epoch)) }
        }
    }

    /// Requests under way now, over all channels.
    public var queueDepth: Int {
        state.withLock { state in
            state.channels.reduce(0) { $0 + $1.outstanding.load(ordering: .relaxed) }
        }
    }

    public var rateLimits: RateLimits {
        get { limiter.limits }
        set { limiter.limits = newValue }
    }

    /// The latency histogram; nil while it has never been switched on.
    public var latencyHistogram: LatencyHistogram? { histogram.histogram }

    /// Starts measuring latencies afresh, of `operation` or of all; nil fields of a running
    /// measurement are replaced.
    public func startHistogram(of operation: BlockOperation? = nil) {
        histogram.start(of: operation)
    }

    public func stopHistogram() { histogram.stop() }
}
