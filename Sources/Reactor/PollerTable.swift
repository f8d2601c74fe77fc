internal import Bounded
internal import Platform

/// The pollers of one reactor and where each stands: polled, or left alone until an event.
final class PollerTable {
    static let capacity = 16_384

    enum Standing {
        case hot
        case idle
        case waiting
    }

    /// A poller and its standing. The loop visits it without counting references.
    private final class Entry {
        let id: UInt32
        let poller: any Poller
        let kick: Int32?
        var moreKicks: [SharedDescriptor] = []
        var standing = Standing.hot
        var lastBusy: Ticks
        /// Woken by its time alone: one turn without work is enough to leave it alone again.
        var isLooking = false

        init(id: UInt32, poller: any Poller, now: Ticks) {
            self.id = id
            self.poller = poller
            kick = poller.kickDescriptor
            lastBusy = now
        }
    }

    private var entries = ObjectList<Entry>(capacity: capacity)
    private var nextID: UInt32 = 1
    private(set) var hotCount = 0

    var count: Int { entries.count }
    var hasCold: Bool { hotCount < entries.count }

    /// Nil when the table is full.
    func add(_ poller: any Poller, now: Ticks) -> UInt32? {
        guard entries.append(Entry(id: nextID, poller: poller, now: now)) else { return nil }
        defer { nextID += 1 }
        hotCount += 1
        return nextID
    }

    /// Takes the poller out. Returns its kick descriptor and the further ones.
    func remove(_ id: UInt32) -> (kick: Int32?, more: [SharedDescriptor]) {
        guard let index = index(of: id) else { return (nil, []) }
        let entry = entries.remove(at: index)
        if entry.standing == .hot { hotCount -= 1 } else { entry.poller.disarm() }
        return (entry.kick, entry.moreKicks)
    }

    func add(kick: SharedDescriptor, to id: UInt32) {
        guard let index = index(of: id) else { return }
        entries.visit(index) { $0.moreKicks.append(kick) }
    }

    private func index(of id: UInt32) -> Int? {
        (0..<entries.count).first { index in entries.visit(index) { $0.id == id } }
    }

    /// Polls every hot poller once; one that has been idle for `patience`, or for
    /// `waitingPatience` while it waits for a device, is armed and left alone.
    func turn(
        now: Ticks, patience: UInt64, waitingPatience: UInt64, neverRest: Bool
    ) -> Int {
        var done = 0
        var rested = 0
        for index in 0..<entries.count {
            entries.visit(index) { entry in
                if entry.standing != .hot { return }
                let work = entry.poller.poll(now: now)
                if work > 0 {
                    entry.lastBusy = now
                    entry.isLooking = false
                    done &+= work
                } else if !neverRest {
                    let idle = now.since(entry.lastBusy)
                    if entry.isLooking || idle > patience
                        || idle > waitingPatience && entry.poller.isWaiting,
                        PollerTable.rests(entry, now: now)
                    {
                        rested &+= 1
                    }
                }
            }
        }
        hotCount &-= rested
        return done
    }

    private static func rests(_ entry: Entry, now: Ticks) -> Bool {
        switch entry.poller.arm() {
        case .working:
            entry.lastBusy = now
            return false
        case .idle: entry.standing = .idle
        case .waiting: entry.standing = .waiting
        }
        return true
    }

    /// A kick: poll it again.
    func wake(_ id: UInt32, now: Ticks) {
        guard let index = index(of: id) else { return }
        entries.visit(index) { $0.poller.kicked() }
        heat(index, now: now)
    }

    /// A device's completion event: whoever waits for requests is polled again.
    func wakeWaiting(now: Ticks) {
        for index in 0..<entries.count where entries.visit(index, { $0.standing == .waiting }) {
            heat(index, now: now)
        }
    }

    /// Wakes pollers whose time has come. Returns the nearest time that is still ahead.
    func wakeTimed(now: Ticks) -> Ticks? {
        var nearest: Ticks?
        for index in 0..<entries.count {
            guard let time = entries.visit(index, { PollerTable.time(of: $0, now: now) }) else {
                continue
            }
            if time <= now {
                heat(index, now: now)
                entries.visit(index) { $0.isLooking = true }
            } else {
                nearest = min(nearest ?? time, time)
            }
        }
        return nearest
    }

    /// When a poller that is left alone wants to be polled; nil when only an event matters.
    private static func time(of entry: Entry, now: Ticks) -> Ticks? {
        if entry.standing == .hot { return nil }
        guard let time = entry.poller.wakeTime else { return nil }
        if time <= now, !entry.poller.look(now: now), let next = entry.poller.wakeTime {
            return next
        }
        return time
    }

    private func heat(_ index: Int, now: Ticks) {
        let isNew = entries.visit(index) { entry in
            entry.isLooking = false
            if entry.standing == .hot { return false }
            entry.poller.disarm()
            entry.standing = .hot
            entry.lastBusy = now
            return true
        }
        if isNew { hotCount &+= 1 }
    }
}
