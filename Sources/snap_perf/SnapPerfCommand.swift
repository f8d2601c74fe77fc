internal import ArgumentParser
internal import Histogram
internal import Platform
internal import VirtioDriver

@main
struct SnapPerfCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snap_perf",
        abstract: "Drives a vhost-user-blk device with a polling driver and prints what it does.",
        discussion: """
            Example: snap_perf --socket /var/tmp/spdk.sock.run/host/SOFTSNAP0001VBLKS0D0F0.sock \
            --rw read --size 4096 --depth 32 --seconds 5
            """)

    @Option(help: "Host socket of the function.")
    var socket: String?

    @Option(help: "read, write or mix (two thirds reads).")
    var rw = "read"

    @Option(help: "Bytes of a request.")
    var size = 4096

    @Option(help: "Requests under way on each queue.")
    var depth = 32

    @Option(help: "Queues.")
    var queues = 1

    @Option(name: .customLong("queue-size"), help: "Entries of a ring.")
    var queueSize = 256

    @Option(help: "Pieces that the data of a request is cut into.")
    var segments = 1

    @Option(help: "Seconds to run.")
    var seconds = 2.0

    @Option(help: "Core to poll on.")
    var core: Int?

    @Option(help: "Seed of places and patterns.")
    var seed: UInt64 = 1

    @Flag(help: "Sequential places instead of random ones.")
    var sequential = false

    @Flag(help: "Packed ring.")
    var packed = false

    @Flag(name: .customLong("event-index"), help: "Negotiate VIRTIO_F_EVENT_IDX.")
    var eventIndex = false

    @Flag(help: "Indirect descriptors.")
    var indirect = false

    @Option(
        help: "Run so many requests through the device model alone, in one thread (for counting).")
    var model: Int?

    @Option(help: "Stay connected and idle for so many seconds afterwards.")
    var hold = 0.0

    @Option(help: "Write and verify so many requests first.")
    var verify = 0

    func validate() throws {
        guard PerfRun.Pattern(rawValue: rw) != nil else {
            throw ValidationError("--rw is \(rw); it must be read, write or mix")
        }
        guard size > 0, size % 512 == 0, size % (segments * 8) == 0, segments > 0 else {
            throw ValidationError(
                "--size \(size) must be a multiple of 512 and of 8 × --segments \(segments)")
        }
        let limit = layout.slotLimit
        guard depth > 0, depth <= limit else {
            throw ValidationError("--depth \(depth): a ring of \(queueSize) entries takes \(limit)")
        }
        guard queues > 0 else { throw ValidationError("--queues must be at least 1") }
        guard (socket == nil) != (model == nil) else {
            throw ValidationError("give --socket, or --model to count the device model alone")
        }
    }

    private var layout: BlockDriverQueue.Layout {
        var layout = BlockDriverQueue.Layout(
            queueSize: queueSize, slotCount: depth, bufferByteCount: size)
        layout.segmentCount = segments
        layout.isPacked = packed
        layout.usesEventIndex = eventIndex
        layout.usesIndirect = indirect
        return layout
    }

    func run() throws {
        do {
            if let core { try Thread.pin(to: core) }
            guard let socket else { return try ModelRun(layout).run(requestCount: model ?? 0) }
            var options = PerfSession.Options(socket: socket, layout: layout)
            options.queueCount = queues
            options.isPacked = packed
            options.usesEventIndex = eventIndex
            options.usesIndirect = indirect
            let session = try PerfSession(options)
            if verify > 0 {
                let bytes = try PerfVerification(session, byteCount: size, seed: seed)
                    .run(requestCount: verify)
                ProcessFacts.say("verified: \(bytes) bytes, seed \(seed)")
            }
            if seconds > 0 { try measure(session) }
            if hold > 0 {
                ProcessFacts.say("holding")
                Clock.sleep(nanoseconds: UInt64(hold * 1e9))
            }
            try session.stop()
        } catch {
            ProcessFacts.complain("snap_perf: \(error)")
            throw ExitCode(1)
        }
    }

    private func measure(_ session: PerfSession) throws {
        var options = PerfRun.Options()
        options.pattern = PerfRun.Pattern(rawValue: rw) ?? .read
        options.byteCount = size
        options.isRandom = !sequential
        options.seconds = seconds
        options.seed = seed
        var run = try PerfRun(session, options)
        let outcome = try run.run()
        let latency = outcome.latency
        ProcessFacts.say(
            """
            requests: \(outcome.requests)
            iops: \(UInt64(outcome.requestsPerSecond))
            errors: \(outcome.errors)
            latency_ns: p50 \(latency.valueAtPercentile(50)) p99 \(latency.valueAtPercentile(99)) \
            p99.9 \(latency.valueAtPercentile(99.9)) mean \(UInt64(latency.mean))
            """)
        if outcome.errors > 0 { throw PerfError("\(outcome.errors) requests failed") }
    }
}
