import Bdev
import Bounded
import Memory
import NVMeOF
import Platform
import Synchronization

/// A service's remote controllers, and users of their bdevs on simulated reactors.
final class RemoteBench {
    let bdevs = BdevRegistry()
    let remotes: RemoteControllers
    let log = EventLog()

    /// - Parameter associations: directory of their record.
    init(reactorCount: Int = 1, associations: String? = nil) {
        remotes = RemoteControllers(
            bdevs: bdevs, reactorCount: reactorCount, associations: associations
        ) { [log] in log.add($0) }
    }

    static func options(_ server: TargetServer) -> PathOptions {
        var options = PathOptions(
            address: "127.0.0.1", port: server.port, subsystem: "nqn.2024-01.test:s1",
            host: "nqn.2024-01.test:host")
        options.timers.patienceMilliseconds = 2_000
        return options
    }

    /// Attaches `server` as Nvme0.
    @discardableResult
    func attach(
        _ server: TargetServer, _ multipath: RemoteControllers.Multipath = .multipath,
        _ change: (inout PathOptions) -> Void = { _ in }
    ) async throws -> [String] {
        var options = RemoteBench.options(server)
        change(&options)
        return try await remotes.attach("Nvme0", options, multipath)
    }

    func user(_ name: String = "Nvme0n1", depth: Int = 32) throws -> RemoteUser {
        try RemoteUser(try bdevs.device(name), depth: depth)
    }

    /// Waits until `condition` holds, for ten seconds at most.
    func wait(_ condition: () async -> Bool) async -> Bool {
        for _ in 0..<1000 {
            if await condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}

final class EventLog: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    func count(_ text: String) -> Int {
        lines.withLock { lines in lines.count { $0.contains(text) } }
    }
    func has(_ text: String) -> Bool {
        lines.withLock { lines in lines.contains { $0.contains(text) } }
    }
}

/// One user of a bdev, on a reactor of its own.
final class RemoteUser {
    let device: BlockDevice
    let channel: BlockChannel
    let memory: Mapping
    private let epoll: Epoll
    private let arena = SegmentArena(capacity: 1024)
    private var batch: RequestBatch
    private var completions: CompletionBatch

    /// The reactor of several users.
    final class Site {
        fileprivate let numbers = EpollNumbers()
        fileprivate let channelSite: ChannelSite

        init() {
            // The numbers only: the site outlives nobody here.
            channelSite = ChannelSite(
                watch: { [numbers] in numbers.added.append($0) }, unwatch: { _ in })
        }
    }

    init(_ device: BlockDevice, depth: Int, at site: Site = Site()) throws {
        self.device = device
        epoll = try Epoll()
        let file = try MemoryFile.create(name: "guest", byteCount: 1 << 24)
        memory = try Mapping(file.number, byteCount: 1 << 24)
        batch = RequestBatch(capacity: depth)
        completions = CompletionBatch(capacity: depth)
        channel = try device.openChannel(depth: depth, at: site.channelSite)
        numbers = site.numbers
    }

    private let numbers: EpollNumbers

    fileprivate final class EpollNumbers {
        var added: [Int32] = []
    }

    func request(
        _ operation: BlockOperation, tag: UInt32 = 0, block: UInt64, count: UInt64 = 1,
        at offset: Int = 0
    ) -> BlockRequest {
        let size = Int(count) * device.geometry.blockByteCount
        arena[Int(tag)] = memory.bytes.segment.part(
            at: offset, byteCount: operation.movesData ? size : 0)
        return BlockRequest(
            operation, tag: tag, block: block, blockCount: count,
            segments: operation.movesData ? arena.list(at: Int(tag), count: 1) : .empty)
    }

    func submit(_ requests: [BlockRequest]) {
        batch.removeAll()
        for request in requests { batch.append(request) }
        let taken = channel.submit(batch, from: 0, now: .now())
        precondition(taken == requests.count)
    }

    /// As `submit` and `poll`, without allocations.
    func prepare(_ request: BlockRequest) {
        batch.removeAll()
        batch.append(request)
    }

    func submitPrepared() {
        let taken = channel.submit(batch, from: 0, now: .now())
        precondition(taken == batch.count)
    }

    /// - Returns: how many have ended, all of them well.
    func pollQuietly() -> Int {
        completions.removeAll()
        channel.poll(into: &completions, now: .now())
        for index in 0..<completions.count {
            precondition(completions[index].status == .success)
        }
        return completions.count
    }

    /// What has ended by now.
    func poll() -> [BlockCompletion] {
        completions.removeAll()
        channel.poll(into: &completions, now: .now())
        return (0..<completions.count).map { completions[$0] }
    }

    /// Polls until everything has ended, for `seconds` at most. It sleeps as a reactor does: what
    /// is left then waits for an event that did not come.
    func finish(seconds: UInt64 = 10) -> [BlockStatus] {
        var ended: [BlockStatus] = []
        let end = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        while channel.outstanding > 0 && Clock.monotonicNanoseconds() < end {
            ended += poll().map(\.status)
            for number in numbers.added { try? epoll.add(number, .edge, token: UInt64(number)) }
            numbers.added = []
            if channel.outstanding == 0 { break }
            let left = end - min(end, Clock.monotonicNanoseconds())
            let wake = channel.wakeTime.map { Ticks.nanoseconds(from: $0.since(.now())) }
            _ = epoll.wait(nanoseconds: Int64(min(wake ?? left, left)))
        }
        return ended
    }

    func run(_ request: BlockRequest) -> BlockStatus? {
        submit([request])
        return finish().first
    }

    func bytes(at offset: Int, _ count: Int) -> HostSegment {
        memory.bytes.segment.part(at: offset, byteCount: count)
    }
}
