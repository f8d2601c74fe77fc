internal import Bdev
internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// One channel of a remote namespace.
///
/// Every request is taken. It waits while no path is usable or the queue is full, is sent again
/// when its connection ends, and fails when the paths' timers say so. One that is larger than a
/// command may be goes piece by piece.
final class NamespaceChannel: BackendChannel {
    /// How long until a socket that took no more is tried again.
    private static let blockedTicks = Ticks.from(nanoseconds: 200_000)

    private let namespace: RemoteNamespace
    private let site: ChannelSite
    private let blockByteCount: Int
    /// By tag.
    private var transfers: FixedTable<Piecewise>
    /// Tags of requests that wait for a path or for room.
    private var held: BoundedQueue<UInt32>
    private var ready: BoundedQueue<BlockCompletion>
    private var routes: [Route] = []
    /// Of paths that are gone: turned until their connection has ended.
    private var leaving: [Route] = []
    private var routesGeneration: UInt64 = 0
    private var selector = PathSelector()
    private var lastNow = Ticks(0)

    /// A request on its way, by pieces.
    private struct Piecewise: BitwiseCopyable {
        var request: BlockRequest
        var doneBlocks: UInt64 = 0
        var pieceBlocks: UInt64 = 0
        var retries = 0
        var isUnderWay = false
        /// It is not sent again.
        var isAbandoned = false

        init(_ request: BlockRequest) { self.request = request }
    }

    init(
        _ namespace: RemoteNamespace, depth: Int, at site: ChannelSite
    ) throws(SystemError) {
        self.namespace = namespace
        self.site = site
        blockByteCount = namespace.geometry.blockByteCount
        let nothing = BlockRequest(.flush, tag: 0, block: 0, blockCount: 0, segments: .empty)
        transfers = FixedTable(count: depth, repeating: Piecewise(nothing))
        held = BoundedQueue(capacity: depth)
        ready = BoundedQueue(capacity: depth)
        try followRoutes()
    }

    deinit {
        for route in routes { route.queue.leave(route.number) }
        for route in leaving { route.queue.leave(route.number) }
    }

    /// Takes up paths that have come and drops those that have gone.
    private func followRoutes() throws(SystemError) {
        let (generation, paths) = namespace.paths
        var new: [Route] = []
        for path in paths {
            if let known = routes.first(where: { $0.path === path }) {
                new.append(known)
            } else {
                let queue = try SiteQueues.queue(of: path.path, at: site)
                new.append(Route(path: path, queue: queue, number: try queue.attach()))
            }
        }
        for route in routes where !new.contains(where: { $0.path === route.path }) {
            leaving.append(route)
        }
        routes = new
        routesGeneration = generation
    }

    // MARK: Submit

    func submit(_ batch: borrowing RequestBatch, _ range: Range<Int>, now: Ticks) -> Int {
        for index in range {
            let request = batch[index]
            transfers[Int(request.tag)] = Piecewise(request)
            hold(request.tag)
        }
        startHeld(now: now)
        flush()
        return range.count
    }

    private func hold(_ tag: UInt32) {
        let fits = held.push(tag)
        precondition(fits, "more requests than the channel's depth")
    }

    private func end(_ tag: UInt32, _ status: BlockStatus) {
        let fits = ready.push(BlockCompletion(tag: tag, status: status))
        precondition(fits, "more requests than the channel's depth")
    }

    private func flush() {
        for index in 0..<routes.count { routes[index].queue.flush() }
    }

    /// Starts what waits, in order, while there is room on a usable path.
    private func startHeld(now: Ticks) {
        while let tag = held.first {
            guard let index = selector.pick(routes, namespace.policy) else {
                if routes.allSatisfy(\.isHopeless) { failHeld() }
                return
            }
            if !routes[index].queue.hasRoom { return }
            _ = held.pop()
            start(tag, on: routes[index], now: now)
        }
    }

    private func failHeld() {
        while let tag = held.pop() { end(tag, .failed) }
    }

    private func start(_ tag: UInt32, on route: Route, now: Ticks) {
        var transfer = transfers[Int(tag)]
        let request = transfer.request
        let left = request.blockCount &- transfer.doneBlocks
        if left == 0 && request.operation != .flush { return end(tag, .success) }
        transfer.pieceBlocks = min(left, namespace.pieceLimit(request.operation))
        transfer.isUnderWay = true
        transfers[Int(tag)] = transfer
        let block = request.block &+ transfer.doneBlocks
        let offset = Int(transfer.doneBlocks) &* blockByteCount
        let byteCount = Int(transfer.pieceBlocks) &* blockByteCount
        let command = nvme_sqe(
            request.operation, namespace: namespace.id, block: block,
            blockCount: transfer.pieceBlocks)
        let data: QueuePair.Transfer =
            switch request.operation {
            case .read: .read(request.segments, offset: offset, byteCount: byteCount)
            case .write: .write(request.segments, offset: offset, byteCount: byteCount)
            case .unmap:
                .range(
                    nvme_dsm_range(
                        attributes: 0, block_count: UInt32(transfer.pieceBlocks), block: block))
            case .flush, .writeZeroes: .nothing
            }
        route.queue.start(command, data, channel: route.number, tag: tag, now: now)
    }

    // MARK: Ends

    private func takeEnds(of route: Route) {
        while let (tag, end) = route.queue.next(route.number) {
            switch end {
            case .status(let status): finish(tag, status: status, from: route)
            case .lost: lost(tag)
            }
        }
    }

    /// A piece of the request has been answered.
    private func finish(_ tag: UInt32, status: UInt16, from route: Route) {
        var transfer = transfers[Int(tag)]
        transfer.isUnderWay = false
        if status == 0 {
            transfer.doneBlocks &+= transfer.pieceBlocks
            transfers[Int(tag)] = transfer
            let isDone = transfer.doneBlocks == transfer.request.blockCount
            if !isDone && transfer.request.operation != .flush { return again(tag) }
            return end(tag, .success)
        }
        let verdict = StatusVerdict(status)
        if verdict == .anotherPath {
            // The path's thread reads what the state of its group is.
            route.path.access = .change
            route.path.path.refreshAccess()
        }
        transfer.retries &+= 1
        transfers[Int(tag)] = transfer
        if case .final(let status) = verdict { return end(tag, status) }
        if transfer.retries > namespace.retryLimit { return end(tag, .failed) }
        again(tag)
    }

    /// The connection ended before the request was answered.
    private func lost(_ tag: UInt32) {
        transfers[Int(tag)].isUnderWay = false
        again(tag)
    }

    private func again(_ tag: UInt32) {
        if transfers[Int(tag)].isAbandoned { end(tag, .aborted) } else { hold(tag) }
    }

    // MARK: Poll

    func poll(into completions: inout CompletionBatch, now: Ticks) {
        lastNow = now
        if routesGeneration != namespace.pathsGeneration {
            // Without memory or descriptors the old paths go on.
            try? followRoutes()
        }
        for index in 0..<routes.count {
            routes[index].queue.turn(now: now)
            takeEnds(of: routes[index])
        }
        if !leaving.isEmpty { endLeaving(now: now) }
        if !held.isEmpty {
            startHeld(now: now)
            flush()
        }
        while !completions.isFull, let completion = ready.pop() { completions.append(completion) }
    }

    private func endLeaving(now: Ticks) {
        for route in leaving {
            route.queue.turn(now: now)
            takeEnds(of: route)
            if !route.queue.isConnected { route.queue.leave(route.number) }
        }
        leaving.removeAll { !$0.queue.isConnected }
    }

    /// What waits ends now, and so do reads under way: what still comes for them is thrown away.
    /// A write under way has to end by itself, since the target may carry it out; it is not sent
    /// again when its connection ends, which the keep-alive timer bounds. Memory that the target or
    /// another thread reaches is waited for, for two seconds; then the connection ends, and others
    /// that use it wait for the next one.
    func abandonHeld() {
        while let tag = held.pop() { end(tag, .aborted) }
        let now = Ticks.now()
        for tag in 0..<UInt32(transfers.count) where transfers[Int(tag)].isUnderWay {
            let isRead = transfers[Int(tag)].request.operation == .read
            let isRevoked = (routes + leaving).contains {
                $0.queue.giveUp(channel: $0.number, tag: tag, isRead: isRead, now: now)
            }
            transfers[Int(tag)].isAbandoned = true
            if !isRevoked { continue }
            transfers[Int(tag)].isUnderWay = false
            end(tag, .aborted)
        }
    }

    var wakeTime: Ticks? {
        if !ready.isEmpty { return Ticks(0) }
        var wake: Ticks?
        for index in 0..<routes.count {
            if routes[index].queue.hasAnswers(routes[index].number) { return Ticks(0) }
            if routes[index].queue.isHeldUp() {
                return lastNow.advanced(by: NamespaceChannel.blockedTicks)
            }
            if let end = routes[index].queue.wakeTime { wake = min(wake ?? end, end) }
        }
        for index in 0..<leaving.count {
            if let end = leaving[index].queue.wakeTime { wake = min(wake ?? end, end) }
        }
        return wake
    }
}

/// A way from one channel to the namespace.
struct Route {
    let path: NamespacePath
    let queue: IOQueue
    /// The channel's, on the queue.
    let number: UInt32

    /// 0 is best; nil when it cannot be used now.
    var rank: Int? { queue.isConnected ? path.access.rank : nil }

    /// Requests that wait for it should fail instead.
    var isHopeless: Bool { path.path.failsRequests || path.access == .persistentLoss }
}

extension nvme_sqe {
    init(_ operation: BlockOperation, namespace: UInt32, block: UInt64, blockCount: UInt64) {
        self.init()
        namespace_id = namespace
        switch operation {
        case .flush: opcode = UInt8(NVME_NVM_FLUSH)
        case .unmap:
            opcode = UInt8(NVME_NVM_DATASET_MANAGEMENT)
            cdw11 = UInt32(NVME_DSM_DEALLOCATE)
        case .read: self.init(NVME_NVM_READ, namespace, block, blockCount)
        case .write: self.init(NVME_NVM_WRITE, namespace, block, blockCount)
        case .writeZeroes: self.init(NVME_NVM_WRITE_ZEROES, namespace, block, blockCount)
        }
    }

    /// A command on a range of blocks.
    private init(_ code: Int, _ namespace: UInt32, _ block: UInt64, _ blockCount: UInt64) {
        self.init()
        opcode = UInt8(code)
        namespace_id = namespace
        cdw10 = UInt32(truncatingIfNeeded: block)
        cdw11 = UInt32(block >> 32)
        cdw12 = UInt32(blockCount &- 1)
    }
}
