internal import ArgumentParser
internal import Histogram
internal import NVMeDriver
internal import Platform
internal import VirtioDriver

@main
struct SnapPerfCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snap_perf",
        abstract: "Drives a virtio-blk or NVMe function with a polling driver and measures it.",
        discussion: """
            Example: snap_perf --socket /var/tmp/spdk.sock.run/host/SOFTSNAP0001VBLKS0D0F0.sock \
            --rw read --size 4096 --depth 32 --seconds 5
            """)

    @Option(help: "Host socket of a virtio-blk function (vhost-user).")
    var socket: String?

    @Option(help: "Host socket of an NVMe function (vfio-user); several are driven at once.")
    var nvme: [String] = []

    @Option(
        help: ArgumentHelp(
            "Remote subsystem whose first namespace is driven by the initiator alone:"
                + " 'trtype:tcp traddr:192.0.2.1 trsvcid:4420 subnqn:NQN', or trtype:rdma."))
    var target: String?

    @Option(help: "NVMe: mapped, shadow or trapped; by default the first that is offered.")
    var doorbells: String?

    @Option(help: "NVMe: namespace to use.")
    var namespace: UInt32 = 1

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

    @Option(
        name: .customLong("nvme-model"),
        help: "The same with so many commands through the NVMe device model.")
    var nvmeModel: Int?

    @Flag(help: "Print the figures as a JSON object.")
    var json = false

    @Option(help: "At most so many requests per second, sleeping between them; 0: no limit.")
    var rate = 0.0

    @Option(help: "Stay connected and idle for so many seconds afterwards.")
    var hold = 0.0

    @Option(
        help: """
            NVMe: end with a function level reset while reads are under way, and see that memory \
            stays as it is for so many seconds.
            """)
    var flr: Double?

    @Flag(help: "Write, read back and compare all the time, in the place of --rw.")
    var check = false

    @Option(help: "Report each time of more than so many milliseconds without an answer.")
    var pauses: Double?

    @Option(help: "Write and verify so many requests first.")
    var verify = 0

    @Flag(
        help: "Repeat --verify, each time with other data, until standard input ends.")
    var again = false

    func validate() throws {
        guard PerfRun.Pattern(rawValue: rw) != nil else {
            throw ValidationError("--rw is \(rw); it must be read, write or mix")
        }
        guard size > 0, size % 512 == 0, size % (segments * 8) == 0, segments > 0 else {
            throw ValidationError(
                "--size \(size) must be a multiple of 512 and of 8 × --segments \(segments)")
        }
        let limit = isNVMe || target != nil ? queueSize - 1 : layout.slotLimit
        guard depth > 0, depth <= limit else {
            throw ValidationError("--depth \(depth): a ring of \(queueSize) entries takes \(limit)")
        }
        guard rate >= 0 else { throw ValidationError("--rate \(rate) is less than 0") }
        guard !again || verify > 0 else { throw ValidationError("--again repeats --verify") }
        guard queues > 0 else { throw ValidationError("--queues must be at least 1") }
        let ways = [socket != nil, !nvme.isEmpty, target != nil, model != nil, nvmeModel != nil]
        guard ways.count(where: { $0 }) == 1 else {
            throw ValidationError(
                "give --socket, --nvme or --target, or --model or --nvme-model to count a "
                    + "device model alone")
        }
        guard doorbells == nil || NVMeDoorbellKind(rawValue: doorbells ?? "") != nil else {
            throw ValidationError("--doorbells must be mapped, shadow or trapped")
        }
        guard flr == nil || !nvme.isEmpty else { throw ValidationError("--flr is of --nvme") }
        guard !isNVMe || size <= 1 << 21 else {
            throw ValidationError("--size \(size): an NVMe command moves 2 MiB at most")
        }
    }

    private var isNVMe: Bool { !nvme.isEmpty || nvmeModel != nil }

    private var layout: BlockDriverQueue.Layout {
        var layout = BlockDriverQueue.Layout(
            queueSize: queueSize, slotCount: depth, bufferByteCount: size)
        layout.segmentCount = segments
        layout.isPacked = packed
        layout.usesEventIndex = eventIndex
        layout.usesIndirect = indirect
        return layout
    }

    func run() async throws {
        do {
            if let core { try Thread.pin(to: core) }
            if let model { return try ModelRun(layout).run(requestCount: model) }
            if let nvmeModel {
                return try NVMeModelRun(byteCount: size, depth: depth).run(commandCount: nvmeModel)
            }
            if let target {
                try await RemoteTarget(target).with { device in
                    try report(try RemotePerf(device, depth: depth, runOptions()).run())
                }
            } else if let socket {
                try driveVirtio(socket)
            } else {
                try driveNVMe()
            }
        } catch {
            ProcessFacts.complain("snap_perf: \(error)")
            throw ExitCode(1)
        }
    }

    private func driveVirtio(_ socket: String) throws {
        var options = PerfSession.Options(socket: socket, layout: layout)
        options.queueCount = queues
        options.isPacked = packed
        options.usesEventIndex = eventIndex
        options.usesIndirect = indirect
        let session = try PerfSession(options)
        if verify > 0 {
            try verifyAgain { pattern throws in
                try PerfVerification(session, pattern).run(requestCount: verify)
            }
        }
        if seconds > 0 {
            var run = try PerfRun(session, runOptions())
            try report(try run.run())
        }
        holdOn()
        try session.stop()
    }

    private func driveNVMe() throws {
        var options = NVMePerfSession.Options()
        options.queueCount = queues
        options.entryCount = queueSize
        options.depth = depth
        options.byteCount = size
        options.namespace = namespace
        options.doorbells = doorbells.flatMap(NVMeDoorbellKind.init(rawValue:))
        let sessions = try nvme.map { try NVMePerfSession($0, options) }
        if !json, let kind = sessions.first?.driver.doorbells {
            ProcessFacts.say("doorbells: \(kind.rawValue)")
        }
        for session in sessions where verify > 0 {
            try verifyAgain { pattern throws in
                try NVMePerfVerification(session: session, pattern: pattern)
                    .run(requestCount: verify)
            }
        }
        if seconds > 0 {
            var run = try NVMePerfRun(sessions, runOptions())
            try report(try run.run())
        }
        holdOn()
        for session in sessions {
            if let flr {
                let taken = try NVMeReset(session).run(watching: flr)
                ProcessFacts.say("reset: \(taken / 1_000_000) ms, memory is as it was since")
            } else {
                try session.stop()
            }
        }
    }

    private func runOptions() throws -> PerfRun.Options {
        var options = PerfRun.Options()
        options.interruption = try Interruption()
        options.rate = rate
        options.pattern = PerfRun.Pattern(rawValue: rw) ?? .read
        options.byteCount = size
        options.isRandom = !sequential
        options.seconds = seconds
        options.seed = seed
        options.isChecked = check
        if let pauses { options.shortestPause = UInt64(pauses * 1e6) }
        return options
    }

    /// Verifies once, or until standard input ends, and says how much.
    private func verifyAgain(_ verify: (PerfPattern) throws -> Int) throws {
        var byteCount = 0
        var round = seed
        repeat {
            byteCount += try verify(PerfPattern(byteCount: size, seed: round))
            round += 1
        } while again && !UnixSocket.waitReadable(0, milliseconds: 0)
        if !json { ProcessFacts.say("verified: \(byteCount) bytes, seed \(seed)") }
    }

    private func holdOn() {
        guard hold > 0 else { return }
        ProcessFacts.say("holding")
        Clock.sleep(nanoseconds: UInt64(hold * 1e9))
    }

    private func report(_ outcome: PerfRun.Outcome) throws {
        let latency = outcome.latency.histogram()
        let figures = [
            latency.valueAtPercentile(50), latency.valueAtPercentile(99),
            latency.valueAtPercentile(99.9), UInt64(latency.mean),
        ]
        let rate = UInt64(outcome.requestsPerSecond)
        let list = outcome.pauses.map(String.init).joined(separator: ", ")
        ProcessFacts.say(
            json
                ? """
                {"requests": \(outcome.requests), "iops": \(rate), "errors": \(outcome.errors), \
                "p50": \(figures[0]), "p99": \(figures[1]), "p99.9": \(figures[2]), \
                "mean": \(figures[3]), "pauses": [\(list)]}
                """
                : """
                requests: \(outcome.requests)
                iops: \(rate)
                errors: \(outcome.errors)
                latency_ns: p50 \(figures[0]) p99 \(figures[1]) p99.9 \(figures[2]) \
                mean \(figures[3])
                """ + (outcome.pauses.isEmpty ? "" : "\npauses_ns: \(list)"))
        if outcome.errors > 0 { throw PerfError("\(outcome.errors) requests failed") }
    }
}
