internal import Bdev
internal import Bounded
internal import Platform

/// The namespaces that an I/O queue serves, each at a place of its own until it is released.
struct AttachedNamespaces {
    /// Requests on their way to one namespace's channel.
    private final class Lane {
        let channel: BlockChannel
        var batch = RequestBatch(capacity: NVMeMemory.inFlightLimit)
        init(_ channel: BlockChannel) { self.channel = channel }
    }

    private var views: [NamespaceView] = []
    private var lanes: [Lane?] = []
    /// By place: detached, so that new commands do not find it.
    private var isLeaving: [Bool] = []
    /// The channel, while there is one namespace and nothing waits in its lane.
    private(set) var only: BlockChannel?
    /// Where the last command went.
    private var lastPlace = 0

    /// Places, free ones among them.
    var count: Int { views.count }

    func view(at place: UInt16) -> NamespaceView { views[Int(place)] }
    func channel(at place: Int) -> BlockChannel? { lanes[place]?.channel }

    /// Where a command for namespace `id` goes; nil when none is attached under it.
    @inline(__always)
    mutating func place(of id: UInt32) -> UInt16? {
        if lastPlace < views.count, views[lastPlace].id == id, id != 0 {
            return UInt16(truncatingIfNeeded: lastPlace)
        }
        return search(id)
    }

    @inline(never)
    private mutating func search(_ id: UInt32) -> UInt16? {
        if id == 0 { return nil }
        for index in 0..<views.count where views[index].id == id && !isLeaving[index] {
            lastPlace = index
            return UInt16(index)
        }
        return nil
    }

    /// Whether a namespace stands at `place` and takes commands.
    func isAttached(at place: Int) -> Bool { lanes[place] != nil && !isLeaving[place] }

    /// The place of `id`, also while it is leaving.
    func anyPlace(of id: UInt32) -> Int? {
        (0..<views.count).first { lanes[$0] != nil && views[$0].id == id }
    }

    mutating func attach(_ view: NamespaceView, _ channel: BlockChannel) {
        precondition(view.id > 0 && anyPlace(of: view.id) == nil, "the namespace is attached")
        precondition(view.blockShift >= 9 && view.blockShift <= 16, "512 bytes to 64 KiB a block")
        precondition(channel.depth >= IOQueue.channelDepth, "the channel is too shallow")
        if let free = lanes.firstIndex(where: { $0 == nil }) {
            views[free] = view
            lanes[free] = Lane(channel)
            isLeaving[free] = false
        } else {
            views.append(view)
            lanes.append(Lane(channel))
            isLeaving.append(false)
        }
        findOnly()
    }

    mutating func update(_ view: NamespaceView) {
        guard let place = anyPlace(of: view.id) else { return }
        precondition(view.blockShift == views[place].blockShift, "a block's size does not change")
        views[place] = view
    }

    mutating func detach(_ place: Int) {
        isLeaving[place] = true
        lastPlace = count
    }

    mutating func release(_ place: Int) {
        lanes[place] = nil
        views[place].id = 0
        lastPlace = count
        findOnly()
    }

    private mutating func findOnly() {
        let there = lanes.compactMap { $0 }
        only = there.count == 1 && there[0].batch.isEmpty ? there[0].channel : nil
    }

    // --- more than one ---

    /// Puts a request into the lane of its namespace.
    func offer(_ request: BlockRequest, to place: UInt16) {
        lanes[Int(place)]?.batch.append(request)
    }

    /// Hands the lanes on. What a channel does not take stays in its lane.
    func submit(now: Ticks) {
        for index in 0..<lanes.count {
            guard let lane = lanes[index], !lane.batch.isEmpty else { continue }
            lane.batch.removeFirst(lane.channel.submit(lane.batch, from: 0, now: now))
        }
    }

    /// Requests that no channel has taken.
    var hasOffers: Bool {
        if only != nil { return false }
        for index in 0..<lanes.count {
            if let lane = lanes[index], !lane.batch.isEmpty { return true }
        }
        return false
    }

    /// Takes the request of `slot` back. False when its channel has it.
    func withdraw(_ slot: UInt32, from place: UInt16) -> Bool {
        guard Int(place) < lanes.count, let lane = lanes[Int(place)] else { return false }
        return lane.batch.withdraw(slot)
    }

    /// Ends what no device works on.
    func abandonHeld() {
        for index in 0..<lanes.count { lanes[index]?.channel.abandonHeld() }
    }

    var wakeTime: Ticks? {
        var earliest: Ticks?
        for index in 0..<lanes.count {
            guard let time = lanes[index]?.channel.wakeTime else { continue }
            earliest = min(earliest ?? time, time)
        }
        return earliest
    }
}

extension RequestBatch {
    /// Takes the request with this tag out; the order of the others may change.
    mutating func withdraw(_ tag: UInt32) -> Bool {
        for index in 0..<count where self[index].tag == tag {
            self[index] = self[count &- 1]
            removeLast()
            return true
        }
        return false
    }
}
