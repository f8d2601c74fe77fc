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
        var users: [User] = []
        var nextUserNumber: UInt64 = 0
        var channels: [ChannelCounters] = []
        /// Sums of the channels that have closed.
        var retired = IOStatistics()
        /// Nil while the queue depth is not sampled.
        var queueDepth: QueueDepthFigures?
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

    private struct User {
        let number: UInt64
        let name: String
        let claims: Bool
        let onEvent: @Sendable (BlockDeviceEvent) -> Void
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

    /// Whether it is going away, or gone.
    var isLeaving: Bool {
        state.withLock { state in
            if case .present = state.phase { return false }
            return true
        }
    }

    public var isClaimed: Bool { state.withLock { $0.users.contains(where: \.claims) } }
    public var users: [String] { state.withLock { $0.users.map(\.name) } }

    // MARK: Users

    /// Registers a user of the device.
    ///
    /// - Parameters:
    ///   - user: names it in messages: `nvme controller "c1" namespace 1`.
    ///   - claims: whether nobody else may claim the device; EPERM when another user has.
    ///   - onEvent: called from any thread, without a lock held, until the use is closed.
    public func open(
        for user: String, claims: Bool = false,
        onEvent: @escaping @Sendable (BlockDeviceEvent) -> Void
    ) throws(BdevError) -> BlockDeviceUse {
        let result: Result<UInt64, BdevError> = state.withLock { state in
            guard case .present = state.phase else { return .failure(.unknown(name)) }
            if claims, let owner = state.users.first(where: { $0.claims && $0.name != user }) {
                let reason = "bdev \"\(name)\" is claimed by \(owner.name)"
                return .failure(BdevError(ErrorNumber.notPermitted, reason))
            }
            let number = state.nextUserNumber
            state.nextUserNumber += 1
            state.users.append(
                User(number: number, name: user, claims: claims, onEvent: onEvent))
            return .success(number)
        }
        return BlockDeviceUse(device: self, number: try result.get())
    }

    func closeUse(_ number: UInt64) {
        let waiting: [CheckedContinuation<Void, Never>] = state.withLock { state in
            state.users.removeAll { $0.number == number }
            guard case .leaving(let waiting) = state.phase, state.users.isEmpty else { return [] }
            state.phase = .gone
            return waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Tells every user to let go and returns when the last one has. Called again, it waits too.
    func leave() async {
        await withCheckedContinuation { continuation in
            let told: [User]? = state.withLock { state in
                switch state.phase {
                case .gone: return nil
                case .leaving(let waiting):
                    state.phase = .leaving(waiting + [continuation])
                    return []
                case .present:
                    if state.users.isEmpty {
                        state.phase = .gone
                        return nil
                    }
                    state.phase = .leaving([continuation])
                    return state.users
                }
            }
            guard let told else { return continuation.resume() }
            for user in told { user.onEvent(.removed) }
        }
    }

    /// Publishes the backend's geometry.
    /// - Returns: whether the block count is another one now; the users have been told then.
    @discardableResult
    public func refreshGeometry() -> Bool {
        let new = backend.geometry.blockCount
        if blockCount.exchange(new, ordering: .relaxed) == new { return false }
        for user in state.withLock({ $0.users }) { user.onEvent(.resized(blockCount: new)) }
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

    /// Starts sampling the queue depth afresh; 0 stops it. Whoever sets a period calls
    /// `sampleQueueDepth` in that rhythm.
    public func setQueueDepthPeriod(microseconds: UInt64) {
        state.withLock { state in
            state.queueDepth =
                microseconds == 0 ? nil : QueueDepthFigures(periodMicroseconds: microseconds)
        }
    }

    /// Counts the requests under way now, over all channels.
    public func sampleQueueDepth() {
        state.withLock { state in
            let depth = state.channels.reduce(0) {
                $0 + $1.outstanding.load(ordering: .relaxed)
            }
            state.queueDepth?.add(queueDepth: UInt64(depth))
        }
    }

    /// Nil while the queue depth is not sampled.
    public var queueDepthFigures: QueueDepthFigures? { state.withLock { $0.queueDepth } }

    public var rateLimits: RateLimits {
        get { limiter.limits }
        set { limiter.limits = newValue }
    }

    /// The latency histogram; nil while it has never been switched on.
    public var latencyHistogram: LatencyHistogram? { histogram.histogram }

    /// Starts measuring latencies afresh, of `operation` or of all.
    public func startHistogram(of operation: BlockOperation? = nil) {
        histogram.start(of: operation)
    }

    public func stopHistogram() { histogram.stop() }
}
