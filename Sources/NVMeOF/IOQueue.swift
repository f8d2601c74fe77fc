internal import Bdev
internal import Bounded
internal import CWire
internal import Memory
internal import Platform

/// One path's queue pair on one reactor, shared by the channels there. Confined to the reactor's
/// thread.
///
/// Whoever polls first in a turn of the reactor receives for all; each channel gets its own
/// completions.
final class IOQueue {
    let berth: Berth
    private let site: ChannelSite
    private var connection: TCPConnection?
    /// By channel number. A channel that has gone leaves its place to the next.
    private var channels: [Subscriber] = []
    private var lastTurn = Ticks(0)

    private struct Subscriber {
        weak var channel: NamespaceChannel?
    }

    init(_ berth: Berth, at site: ChannelSite) {
        self.berth = berth
        self.site = site
        site.wake(on: berth.bellNumber)
    }

    /// A number for a channel, valid while the channel lives.
    func attach(_ channel: NamespaceChannel) -> UInt32 {
        let subscriber = Subscriber(channel: channel)
        if let index = channels.firstIndex(where: { $0.channel == nil }) {
            channels[index] = subscriber
            return UInt32(index)
        }
        channels.append(subscriber)
        return UInt32(channels.count - 1)
    }

    /// Takes a new connection in the place of the old one.
    func adopt(_ new: TCPConnection) {
        connection?.queue.end(.revoked)
        finishEnded()
        connection = new
        site.wake(on: new.socket.number)
    }

    // MARK: Requests

    var isConnected: Bool { connection?.queue.phase == .ready }
    var hasRoom: Bool { connection?.queue.hasRoom ?? false }

    /// Starts a command; there is room. `flush` sends it.
    func start(
        _ command: nvme_sqe, _ transfer: QueuePair.Transfer, channel: UInt32, tag: UInt32
    ) {
        connection?.queue.start(
            command, transfer, token: UInt64(channel) << 32 | UInt64(tag))
    }

    func flush() { connection?.push() }

    /// Sends, receives and hands out completions: once in a turn, whoever asks.
    func turn(now: Ticks) {
        if !berth.mailbox.isEmpty { berth.mailbox.drain(self) }
        if now == lastTurn { return }
        lastTurn = now
        guard let connection else { return }
        connection.push()
        connection.pull()
        while let completion = connection.queue.nextCompletion() {
            let channel = channels[Int(completion.token >> 32)].channel
            channel?.finish(
                UInt32(truncatingIfNeeded: completion.token), status: completion.status,
                from: self)
        }
        // Grants that came are answered in the same turn.
        connection.push()
        finishEnded()
    }

    /// After the end of the connection: every command on it goes back to its channel.
    private func finishEnded() {
        guard let ending = connection, case .ended(let fault) = ending.queue.phase else { return }
        connection = nil
        site.stopWaking(on: ending.socket.number)
        while let token = ending.queue.nextLost() {
            channels[Int(token >> 32)].channel?.lost(UInt32(truncatingIfNeeded: token))
        }
        if fault != .revoked { berth.ended(ending.number, fault) }
    }

    /// Whether polling is useful without an event.
    var isHeldUp: Bool {
        guard let connection else { return !berth.mailbox.isEmpty }
        return connection.isSendBlocked || connection.mayHaveMore
    }
}

/// The queues of one reactor, by path. A path that has closed is forgotten when the next one is
/// looked up.
final class SiteQueues {
    private var queues: [(path: RemotePath, queue: IOQueue)] = []

    static func queue(
        of path: RemotePath, at site: ChannelSite
    ) throws(SystemError) -> IOQueue {
        let all = site.resource(SiteQueues.self) { SiteQueues() }
        all.queues.removeAll { $0.path.isClosed }
        if let found = all.queues.first(where: { $0.path === path }) { return found.queue }
        let made = IOQueue(try path.makeBerth(), at: site)
        all.queues.append((path, made))
        return made
    }
}
