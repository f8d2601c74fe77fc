internal import Bounded
internal import Platform

/// The pollers of one reactor and where each stands: polled, or left alone until an event.
struct PollerTable {
    enum Standing {
        case hot
        case idle
        case waiting
    }

    private struct Entry {
        let id: UInt32
        let poller: any Poller
        let kick: Int32?
        var moreKicks: [SharedDescriptor] = []
        var standing: Standing
        var lastBusy: Ticks
        /// Woken by its time alone: one turn without work is enough to leave it alone again.
        var isLooking = false
    }

    private var entries: [Entry] = []
    private var nextID: UInt32 = 1
    private(set) var hotCount = 0

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }
    var hasCold: Bool { hotCount < entries.count }

    mutating func add(_ poller: any Poller, now: Ticks) -> UInt32 {
        let id = nextID
        nextID += 1
        entries.append(
            Entry(
                id: id, poller: poller, kick: poller.kickDescriptor, standing: .hot,
                lastBusy: now))
        hotCount += 1
        return id
    }

    /// Takes the poller out. Returns its kick descriptor and the further ones.
    mutating func remove(_ id: UInt32) -> (kick: Int32?, more: [SharedDescriptor]) {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return (nil, []) }
        let entry = entries.remove(at: index)
        if entry.standing == .hot { hotCount -= 1 } else { entry.poller.disarm() }
        return (entry.kick, entry.moreKicks)
    }

    mutating func add(kick: SharedDescriptor, to id: UInt32) {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
        entries[index].moreKicks.append(kick)
    }

    /// Polls every hot poller once; one that has been idle for `patience`, or for
    /// `waitingPatience` while it waits for a device, is armed and left alone.
    mutating func turn(
        now: Ticks, patience: UInt64, waitingPatience: UInt64, neverRest: Bool
    ) -> Int {
        var done = 0
        for index in entries.indices where entries[index].standing == .hot {
            let work = entries[index].poller.poll(now: now)
            if work > 0 {
                entries[index].lastBusy = now
                entries[index].isLooking = false
                done &+= work
            } else if !neverRest {
                let idle = now.since(entries[index].lastBusy)
                if entries[index].isLooking || idle > patience
                    || idle > waitingPatience && entries[index].poller.isWaiting
                {
                    rest(index, now: now)
                }
            }
        }
        return done
    }

    private mutating func rest(_ index: Int, now: Ticks) {
        switch entries[index].poller.arm() {
        case .working:
            entries[index].lastBusy = now
        case .idle:
            entries[index].standing = .idle
            hotCount -= 1
        case .waiting:
            entries[index].standing = .waiting
            hotCount -= 1
        }
    }

    /// A kick: poll it again.
    mutating func wake(_ id: UInt32, now: Ticks) {
        // Identifiers only grow, and entries stay in their order.
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return }
        heat(index, now: now)
    }

    /// A device's completion event: whoever waits for requests is polled again.
    mutating func wakeWaiting(now: Ticks) {
        for index in entries.indices where entries[index].standing == .waiting {
            heat(index, now: now)
        }
    }

    /// Wakes pollers whose time has come. Returns the nearest time that is still ahead.
    mutating func wakeTimed(now: Ticks) -> Ticks? {
        var nearest: Ticks?
        for index in entries.indices where entries[index].standing != .hot {
            guard var time = entries[index].poller.wakeTime else { continue }
            if time <= now, !entries[index].poller.look(now: now),
                let next = entries[index].poller.wakeTime
            {
                time = next
            }
            if time <= now {
                heat(index, now: now)
                entries[index].isLooking = true
            } else {
                nearest = min(nearest ?? time, time)
            }
        }
        return nearest
    }

    private mutating func heat(_ index: Int, now: Ticks) {
        entries[index].isLooking = false
        guard entries[index].standing != .hot else { return }
        entries[index].poller.disarm()
        entries[index].standing = .hot
        entries[index].lastBusy = now
        hotCount += 1
    }
}
