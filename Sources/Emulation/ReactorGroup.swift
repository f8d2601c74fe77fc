internal import Bdev
public import Platform
public import Reactor
internal import Synchronization

/// The reactors of a service and how many queues live on each.
public final class ReactorGroup: Sendable {
    public let reactors: [Reactor]
    private let watchdog: Watchdog
    private let queueCounts: Mutex<[Int]>

    /// One reactor for each core. Fails, naming the core, when the process may not use one.
    public init(cores: [Int], options: Reactor.Options) throws(SystemError) {
        var made: [Reactor] = []
        for core in cores { made.append(try Reactor(core: core, options: options)) }
        reactors = made
        watchdog = try Watchdog(made)
        queueCounts = Mutex(Array(repeating: 0, count: made.count))
    }

    /// The reactor with the fewest queues; `giveBack` undoes it.
    func place() -> Reactor {
        queueCounts.withLock { counts in
            let least = counts.indices.min { counts[$0] < counts[$1] } ?? 0
            counts[least] += 1
            return reactors[least]
        }
    }

    func giveBack(_ reactor: Reactor) {
        queueCounts.withLock { counts in
            if let index = reactors.firstIndex(where: { $0 === reactor }) { counts[index] -= 1 }
        }
    }

    public func stop() {
        watchdog.stop()
        for reactor in reactors { reactor.stop() }
    }
}

extension ReactorContext {
    /// What the channels on this reactor share.
    var channelSite: ChannelSite {
        attachment(ChannelSite.self) {
            // An event that cannot be watched costs latency, not completions: they are polled.
            ChannelSite(
                watch: { [unowned self] in try? watch($0) },
                unwatch: { [unowned self] in unwatch($0) })
        }
    }
}
