internal import Bdev
public import Hardware
public import Platform
public import RDMA
public import Reactor
internal import Synchronization

/// The reactors of a service and how many queues live on each.
public final class ReactorGroup: Sendable {
    public let reactors: [Reactor]
    /// How the queues of all of them reach host memory.
    public let dataPath: DataPath
    private let watchdog: Watchdog
    private let queueCounts: Mutex<[Int]>

    /// One reactor for each core. Fails, naming the core, when the process may not use one.
    public init(
        cores: [Int], options: Reactor.Options, dataPath: DataPath = .mapped
    ) throws(SystemError) {
        self.dataPath = dataPath
        var made: [Reactor] = []
        for core in cores { made.append(try Reactor(core: core, options: options)) }
        reactors = made
        watchdog = try Watchdog(made)
        queueCounts = Mutex(Array(repeating: 0, count: made.count))
    }

    /// Gives each reactor its queue pair over `device`, to the relay that `manager` names.
    public func openLinks(
        over device: VerbsDevice, to manager: any EmulationManager
    ) async throws(RDMAError) {
        for reactor in reactors {
            let refusal: RDMAError? = await reactor.run { context in
                do throws(RDMAError) {
                    try RelayLink.open(device, in: context) { manager.relay }
                    return nil
                } catch { return error }
            }
            if let refusal { throw refusal }
        }
    }

    /// The reactor with the fewest of `siblings`, where the other queues of the function live, and
    /// of those the one with the fewest queues of all; `giveBack` undoes it.
    func place(beside siblings: [Reactor] = []) -> Reactor {
        queueCounts.withLock { counts in
            let loads = reactors.indices.map { index in
                let reactor = reactors[index]
                return (siblings.count { $0 === reactor }, counts[index])
            }
            let least = loads.indices.min { loads[$0] < loads[$1] } ?? 0
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
