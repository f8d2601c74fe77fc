import Memory
import Platform
import Synchronization
import VhostUser
import VirtioDriver

struct GuestError: Error, CustomStringConvertible {
    let description: String
}

/// A virtual machine with one disk and one queue, over the real socket.
final class Guest: @unchecked Sendable {
    // Sendable: used by one thread at a time.
    struct Options: Sendable {
        var isPacked = false
        var usesIndirect = false
        var memory: SharedDescriptor?
        var kick: SharedDescriptor?
        var call: SharedDescriptor?
        var queueIndex = 0
    }

    static let guestStart: UInt64 = 1 << 32
    static let userStart: UInt64 = 1 << 40
    static let byteCount = 2 << 20

    let frontEnd: FrontEnd
    let options: Options
    let mapping: Mapping
    let region: FrontEnd.Region
    private(set) var driver: BlockDriverQueue
    private let kick: SharedDescriptor
    private let call: SharedDescriptor
    private var round: UInt8 = 0
    private let features: UInt64

    init(_ path: String, _ options: Options = Options()) throws {
        self.options = options
        frontEnd = try FrontEnd(path: path, patienceMilliseconds: 20_000)
        var features: UInt64 = 1 << 32 | 1 << 29
        if options.isPacked { features |= 1 << 34 }
        if options.usesIndirect { features |= 1 << 28 }
        self.features = features
        try frontEnd.setFeatures(features)
        let own = SharedDescriptor(
            try MemoryFile.create(name: "guest", byteCount: UInt64(Self.byteCount)))
        let file = options.memory ?? own
        region = FrontEnd.Region(
            guestAddress: Self.guestStart, userAddress: Self.userStart,
            byteCount: UInt64(Self.byteCount), file: file)
        try frontEnd.setMemory([region])
        mapping = try Mapping(file.number, byteCount: Self.byteCount)
        driver = Self.makeDriver(options, mapping)
        let event = SharedDescriptor(try EventDescriptor.create())
        let other = SharedDescriptor(try EventDescriptor.create())
        (kick, call) = (options.kick ?? event, options.call ?? other)
        try start(base: options.isPacked ? 0x8000_8000 : 0)
    }

    private static func makeDriver(_ options: Options, _ mapping: Mapping) -> BlockDriverQueue {
        var layout = BlockDriverQueue.Layout(queueSize: 64, slotCount: 16, bufferByteCount: 4096)
        layout.isPacked = options.isPacked
        layout.usesEventIndex = true
        layout.usesIndirect = options.usesIndirect
        mapping.bytes.part(at: 0, byteCount: layout.byteCount).segment.fill(with: 0)
        return BlockDriverQueue(layout, in: mapping.bytes, guestBase: guestStart)
    }

    func start(base: UInt32) throws { try frontEnd.start(queue(base: base)) }

    private func queue(base: UInt32) -> FrontEnd.Queue {
        let user = Self.userStart - Self.guestStart
        return FrontEnd.Queue(
            index: options.queueIndex, size: 64,
            descriptorArea: driver.descriptorAddress + user,
            driverArea: driver.driverAddress + user, deviceArea: driver.deviceAddress + user,
            base: base, kick: kick, call: call)
    }

    /// Has everything that the device writes marked, or nothing any more, as QEMU does.
    func setLogging(_ isLogging: Bool) throws {
        try frontEnd.setLogging(isLogging, features: features)
        try frontEnd.setAddresses(
            of: queue(base: 0), logAddress: isLogging ? driver.deviceAddress : nil)
    }

    /// Starts anew after a reset: rings empty, nothing under way.
    func restart() throws {
        driver = Self.makeDriver(options, mapping)
        try start(base: options.isPacked ? 0x8000_8000 : 0)
    }

    func stop() throws -> UInt32 { try frontEnd.stop(queue: options.queueIndex) }

    func status() throws -> UInt64 {
        let reply = try frontEnd.call(VhostUserMessage(.getStatus))
        return ByteLayout.load(UInt64.self, from: reply.payload) ?? 0
    }

    // --- I/O ---

    /// Waits until the device says that it needs a reset, ringing so that it looks.
    func needsReset(seconds: UInt64 = 20) throws -> Bool {
        let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        while try status() & 64 == 0 {
            if Clock.monotonicNanoseconds() > limit { return false }
            ring()
            Clock.sleep(nanoseconds: 1_000_000)
        }
        return true
    }

    /// Submits a write to every slot, without waiting.
    func submitWrites() {
        round &+= 1
        for slot in 0..<driver.layout.slotCount {
            driver.data(of: slot).fill(with: round &+ UInt8(slot))
            driver.submit(slot: slot, type: 1, sector: UInt64(slot * 8), byteCount: 4096)
        }
        publish()
    }

    /// Submits a read of every slot's place, without waiting.
    func submitReads() {
        for slot in 0..<driver.layout.slotCount {
            driver.data(of: slot).fill(with: 0)
            driver.submit(slot: slot, type: 0, sector: UInt64(slot * 8), byteCount: 4096)
        }
        publish()
    }

    /// Waits for the answers of a full set of slots: one each, and no more.
    func collect(seconds: UInt64 = 10) throws {
        let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        var left = driver.layout.slotCount
        var answered: Set<Int> = []
        while left > 0 {
            guard let answer = driver.reap() else {
                if Clock.monotonicNanoseconds() > limit {
                    throw GuestError(description: "\(left) answers are missing")
                }
                Clock.sleep(nanoseconds: 20_000)
                continue
            }
            left -= 1
            guard answered.insert(answer.slot).inserted else {
                throw GuestError(description: "slot \(answer.slot) is answered twice")
            }
            if answer.status != 0 {
                throw GuestError(description: "slot \(answer.slot): status \(answer.status)")
            }
        }
        if let more = driver.reap() {
            throw GuestError(description: "slot \(more.slot) is answered without a request")
        }
    }

    /// Writes every slot's place and reads it back, so many times.
    func verify(rounds: Int, seconds: UInt64 = 10) throws {
        for _ in 0..<rounds {
            submitWrites()
            try collect(seconds: seconds)
            submitReads()
            try collect(seconds: seconds)
            for slot in 0..<driver.layout.slotCount {
                let bytes = driver.data(of: slot)
                let expected = round &+ UInt8(slot)
                for offset in [0, 511, 2048, 4095]
                where bytes.load(UInt8.self, at: offset) != expected {
                    throw GuestError(description: "slot \(slot) reads back something else")
                }
            }
        }
    }

    /// One request by itself, with up to 4096 bytes that go to the device or come from it.
    /// - Returns: how it ended (Virtio 1.2 §5.2.6).
    func request(
        _ type: UInt32, sector: UInt64, byteCount: Int, seconds: UInt64 = 10
    ) throws -> UInt8 {
        driver.submit(slot: 0, type: type, sector: sector, byteCount: byteCount)
        publish()
        let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        while Clock.monotonicNanoseconds() < limit {
            if let answer = driver.reap() { return answer.status }
            Clock.sleep(nanoseconds: 20_000)
        }
        throw GuestError(description: "no answer to a request of type \(type)")
    }

    private func publish() {
        if driver.publish() { ring() }
    }

    /// A kick, needed or not.
    func ring() { EventDescriptor.signal(kick.number) }
}

/// A guest that goes on reading and writing until it is told to stop.
final class Load: Sendable {
    private let isStopping = Atomic<Bool>(false)
    private let rounds = Atomic<Int>(0)
    private let failure = Mutex<String?>(nil)
    private let thread = Mutex<Thread?>(nil)

    /// - Parameter seconds: patience with each set of answers.
    convenience init(_ guest: Guest, seconds: UInt64 = 10) throws {
        try self.init { try guest.verify(rounds: 1, seconds: seconds) }
    }

    /// - Parameter round: run again and again, on a thread of its own.
    init(_ round: @escaping @Sendable () throws -> Void) throws {
        let started = try Thread(name: "load") { [self] in
            while !isStopping.load(ordering: .relaxed) {
                do {
                    try round()
                    rounds.add(1, ordering: .relaxed)
                } catch {
                    failure.withLock { $0 = "\(error)" }
                    return
                }
            }
        }
        thread.withLock { $0 = started }
    }

    /// Waits until the load has done at least one more round: a minute at most, for sanitizers on
    /// busy machines.
    func advance() async -> Bool {
        let start = rounds.load(ordering: .relaxed)
        for _ in 0..<6000 {
            if rounds.load(ordering: .relaxed) > start { return true }
            if failure.withLock({ $0 }) != nil { return false }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    /// - Returns: what went wrong; nil when nothing did.
    func stop() async throws -> String? {
        isStopping.store(true, ordering: .relaxed)
        try await onThread { [self] in thread.withLock { $0.take() }?.join() }
        return failure.withLock { $0 }
    }
}
