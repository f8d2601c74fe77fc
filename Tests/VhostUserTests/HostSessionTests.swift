import Hardware
import Platform
import Seeds
import Testing
import VhostUser

/// A front end that says anything at any time.
struct Babbler {
    var random: Seed
    let gifts: [SharedDescriptor]

    init(_ seed: Seed) throws {
        random = seed
        gifts = [
            SharedDescriptor(try MemoryFile.create(name: "m", byteCount: 1 << 20)),
            SharedDescriptor(try EventDescriptor.create()),
            try UnixSocket.pair(.stream).0,
        ]
    }

    mutating func message() -> VhostUserMessage {
        random.oneIn(2) ? sensible() : anything()
    }

    /// What a front end would say, at the wrong moment.
    private mutating func sensible() -> VhostUserMessage {
        let index = UInt8(random.pick(0...3))
        let number = UInt8([0, 1, 16, 64, 65].randomElement(using: &random) ?? 1)
        let state: [UInt8] = [index, 0, 0, 0, number, 0, 0, 0]
        let asks = random.oneIn(2)
        switch random.pick(0...9) {
        case 0: return VhostUserMessage(.setVringSize, payload: state, needsReply: asks)
        case 1: return VhostUserMessage(.setVringEnable, payload: state, needsReply: asks)
        case 2: return VhostUserMessage(.getVringBase, payload: state)
        case 3: return VhostUserMessage(.setVringBase, payload: state, needsReply: asks)
        case 4:
            return VhostUserMessage(
                .setProtocolFeatures, payload: [UInt8(random.pick(0...15)), 0, 0, 0, 0, 0, 0, 0])
        case 5:
            return VhostUserMessage(
                .setFeatures,
                payload: [0, 0, 0, [0, 0x40, 0x44][random.pick(0...2)], 1, 0, 0, 0])
        case 6:
            // A log for 32 MiB, 8 GiB of addresses, or more than there is in the file.
            let size: [UInt8] = [[0, 4, 0], [0, 0, 4], [1, 0, 16]][random.pick(0...2)]
            return VhostUserMessage(
                .setLogBase, payload: size + [UInt8](repeating: 0, count: 13),
                descriptors: [gifts[random.oneIn(8) ? 1 : 0]], needsReply: asks)
        default:
            let requests: [VhostUserRequest] = [.setVringKick, .setVringCall]
            return VhostUserMessage(
                requests.randomElement(using: &random) ?? .setVringKick,
                payload: [index, 0, 0, 0, 0, 0, 0, 0], descriptors: [gifts[1]])
        }
    }

    private mutating func anything() -> VhostUserMessage {
        let requests = VhostUserRequest.allCases
        let usual = requests.randomElement(using: &random)?.rawValue ?? 1
        let request = random.oneIn(12) ? UInt32(random.pick(0...300)) : usual
        let lengths = [0, 8, 8, 8, 12, 24, 40, 40, 60]
        let length = random.oneIn(6) ? random.pick(0...200) : lengths.randomElement(using: &random)
        var payload = (0..<(length ?? 8)).map { _ in byte() }
        if length == 40 && random.oneIn(2) { payload.replaceSubrange(0..<8, with: region(0, 8)) }
        if length == 40 && random.oneIn(2) { payload.replaceSubrange(8..<40, with: region(8, 32)) }
        let count = random.oneIn(3) ? random.pick(0...3) : random.pick(0...1)
        let files = (0..<count).compactMap { _ in gifts.randomElement(using: &random) }
        return VhostUserMessage(
            request, payload: payload, descriptors: files, needsReply: random.oneIn(2))
    }

    private mutating func byte() -> UInt8 {
        random.oneIn(3) ? UInt8(random.pick(0...255)) : UInt8(random.pick(0...2))
    }

    /// Bytes of a plausible table header or region.
    private mutating func region(_ place: Int, _ count: Int) -> [UInt8] {
        if place == 0 { return [1, 0, 0, 0, 0, 0, 0, 0] }
        let start = UInt64(random.pick(0...3)) << 20
        let words = [start, UInt64(1) << UInt64(random.pick(10...21)), start, 0]
        return words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }
}

@Suite struct `Host session` {
    static let offer = VirtioOffer(
        controller: "c", features: 0x7_3000_1246, configuration: [UInt8](repeating: 1, count: 60),
        queueCount: 3, queueSize: 64)

    static let fresh = VirtioFunctionState(
        generation: 0, epoch: 0, driverFeatures: 0, memoryGeneration: 0, memory: [], queues: [],
        inflight: nil)

    /// What must hold after every message, whatever it was.
    private func check(
        _ session: HostSession, after old: VirtioFunctionState, _ message: VhostUserMessage
    ) {
        let state = session.state
        #expect(state.queues.count == Self.offer.queueCount)
        #expect(state.generation >= old.generation && state.epoch >= old.epoch)
        #expect(state.memoryGeneration >= old.memoryGeneration)
        #expect(state.driverFeatures & ~Self.offer.features == 0)
        for (queue, before) in zip(state.queues, old.queues) {
            #expect(queue.size <= Self.offer.queueSize && queue.run >= before.run)
            // A running queue has a size; nothing about it changes but its interrupt.
            if queue.isRunning { #expect(queue.size > 0) }
            if queue.isRunning && before.isRunning && queue.run == before.run {
                #expect(queue.descriptorArea == before.descriptorArea)
                #expect(queue.size == before.size && queue.base == before.base)
            }
            // A ring that starts is another life of it; the service hears of every change.
            if queue.isRunning && !before.isRunning { #expect(queue.run > before.run) }
            if queue.isRunning != before.isRunning || queue.kick !== before.kick {
                #expect(state.generation > old.generation, "\(message.request)")
            }
        }
        // What is logged has its place in the log.
        if let log = state.dirtyLog, state.isLogging, state.queues.contains(where: \.isRunning) {
            #expect(log.fileOffset + log.byteCount <= log.file.sharedMemoryByteCount ?? 0)
            let end = state.memory.map { $0.guestAddress + $0.byteCount }.max() ?? 0
            #expect(end <= log.byteCount << 15)
        }
        if !state.isLogging { #expect(old.isLogging == false || state.dirtyLog == nil) }
        let sorted = state.memory.sorted { $0.guestAddress < $1.guestAddress }
        for (low, high) in zip(sorted, sorted.dropFirst()) {
            #expect(low.guestAddress + low.byteCount <= high.guestAddress)
        }
    }

    @Test(arguments: Seed.sample(4))
    func `bears any message in any order`(seed: Seed) throws {
        var babbler = try Babbler(seed)
        var session = HostSession(offer: Self.offer, after: Self.fresh)
        var accepted = 0
        var started = 0
        for _ in 0..<25_000 {
            let message = babbler.message()
            let old = session.state
            do {
                let outcome = try session.handle(message)
                accepted += 1
                if case .wait(let pending) = outcome {
                    #expect(pending.generation <= session.state.generation)
                    // A service says where stopped queues are, and may be wrong about their number.
                    let index = babbler.random.pick(0...4)
                    let isRunning = index < 3 && session.state.queues[index].isRunning
                    if !isRunning { session.record([index: 7]) }
                    _ = session.finish(pending)
                }
            } catch {
                _ = session.refusal(of: message)
                // Its connection ends; sometimes that is a moment away.
                if babbler.random.oneIn(20) {
                    session = HostSession(offer: Self.offer, after: session.state)
                    continue
                }
            }
            started += session.state.queues.contains(where: \.isRunning) ? 1 : 0
            check(session, after: old, message)
        }
        #expect(accepted > 5000 && started > 100, "\(seed): \(accepted), \(started)")
    }
}
