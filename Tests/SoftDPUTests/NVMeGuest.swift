import Bdev
import Emulation
import Memory
import NVMeDriver
import NVMeHost
import Platform

/// A virtual machine with one NVMe controller, over the real socket.
final class NVMeGuest: @unchecked Sendable {
    // Sendable: used by one thread at a time.
    struct Options: Sendable {
        var queueCount = 2
        var slotCount = 16
        var byteCount = 4096
        var doorbells: NVMeDoorbellKind?
        var usesInterrupts = false
        var namespace: UInt32 = 1
        /// Where its part of the disk begins, in blocks of 512 bytes.
        var firstBlock: UInt64 = 0
        var memoryByteCount = 4 << 20
    }

    private final class Queue {
        var queue: NVMeDriverQueue
        init(_ queue: consuming NVMeDriverQueue) { self.queue = queue }
    }

    let options: Options
    let access: NVMeFunctionClient
    let memory: DMAMemory
    let driver: NVMeDriver
    private(set) var events: [NVMeEvent] = []
    private var queues: [Queue] = []
    private var round: UInt64 = 0
    /// Commands that were answered with a status that the caller tolerates.
    private(set) var toleratedCount = 0

    convenience init(_ path: String, _ options: Options = Options()) throws {
        try self.init(try NVMeFunctionClient(path: path), options)
    }

    /// Takes the place of a guest that is just leaving: a function has one at a time, and turns the
    /// next one away until then. Ten seconds at most.
    static func takingOver(_ path: String) throws -> NVMeGuest {
        for _ in 0..<1000 {
            if let client = try? NVMeFunctionClient(path: path) {
                return try NVMeGuest(client, Options())
            }
            Clock.sleep(nanoseconds: 10_000_000)
        }
        return try NVMeGuest(path)
    }

    private init(_ client: NVMeFunctionClient, _ options: Options) throws {
        self.options = options
        access = client
        memory = try DMAMemory(byteCount: options.memoryByteCount)
        var driverOptions = NVMeDriver.Options()
        driverOptions.doorbells = options.doorbells
        driver = NVMeDriver(access, memory: memory, options: driverOptions)
        try start()
    }

    /// Brings the controller up, also after a reset: nothing of before is under way.
    func start() throws {
        queues = []
        try driver.enable()
        let count = try driver.setQueueCount(options.queueCount)
        guard count == options.queueCount else {
            throw GuestError(description: "\(count) queues instead of \(options.queueCount)")
        }
        let layout = NVMeDriverQueue.Layout(
            entryCount: 64, slotCount: options.slotCount, bufferByteCount: options.byteCount)
        for id in 1...UInt16(count) {
            let interrupt =
                options.usesInterrupts
                ? SharedDescriptor(try EventDescriptor.create()) : nil
            queues.append(
                Queue(
                    try driver.createQueue(
                        id, layout, vector: options.usesInterrupts ? Int(id) : 0,
                        interrupt: interrupt)))
        }
        try driver.requestEvents()
    }

    // --- I/O ---

    private func extent(_ queue: Int, _ slot: Int) -> NVMeDriverQueue.Extent {
        let blocks = options.byteCount / 512
        let place = queue * options.slotCount + slot
        return NVMeDriverQueue.Extent(
            namespace: options.namespace,
            block: options.firstBlock + UInt64(place * blocks), blockCount: blocks,
            byteCount: options.byteCount)
    }

    private func stamp(_ queue: Int, _ slot: Int, _ sector: Int) -> UInt64 {
        round << 32 | UInt64(queue) << 24 | UInt64(slot) << 16 | UInt64(sector)
    }

    /// A command for every slot of every queue, without waiting.
    func submit(isWrite: Bool) {
        if isWrite { round += 1 }
        for (number, queue) in queues.enumerated() {
            for slot in 0..<options.slotCount {
                let data = queue.queue.data(of: slot)
                for sector in 0..<options.byteCount / 512 {
                    let word = isWrite ? stamp(number, slot, sector) : 0
                    data.store(word, at: 512 * sector)
                    data.store(word, at: 512 * sector + 504)
                }
                if isWrite {
                    queue.queue.write(slot, extent(number, slot))
                } else {
                    queue.queue.read(slot, extent(number, slot))
                }
            }
            queue.queue.publish()
        }
    }

    /// Waits until everything is answered, once each.
    /// - Parameter tolerated: a status that may come instead of success.
    func collect(seconds: UInt64 = 20, tolerating tolerated: UInt16? = nil) throws {
        let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        for (number, queue) in queues.enumerated() {
            while queue.queue.outstanding > 0 {
                if let answer = queue.queue.poll() {
                    try check(answer, of: number, tolerating: tolerated)
                } else if options.usesInterrupts {
                    try sleep(on: queue)
                } else {
                    Clock.sleep(nanoseconds: 20_000)
                }
                if Clock.monotonicNanoseconds() > limit {
                    throw GuestError(
                        description: "\(queue.queue.outstanding) answers are missing")
                }
            }
            if let more = queue.queue.poll() {
                throw GuestError(description: "slot \(more.slot) is answered unasked")
            }
        }
    }

    private func sleep(on queue: Queue) throws {
        if queue.queue.wait(milliseconds: 5000) { return }
        if let answer = queue.queue.poll() {
            throw GuestError(description: "no interrupt for slot \(answer.slot)")
        }
    }

    private func check(
        _ answer: NVMeDriverQueue.Completion, of queue: Int, tolerating tolerated: UInt16?
    ) throws {
        guard answer.isKnown else {
            throw GuestError(description: "slot \(answer.slot) is answered twice")
        }
        if answer.status.isSuccess { return }
        guard answer.status.rawValue & 0x7FF == tolerated else {
            throw GuestError(
                description: "queue \(queue + 1) slot \(answer.slot): \(answer.status)")
        }
        toleratedCount += 1
    }

    /// Writes every slot's place and reads it back, so many times.
    func verify(rounds: Int = 1, seconds: UInt64 = 20) throws {
        for _ in 0..<rounds {
            submit(isWrite: true)
            try collect(seconds: seconds)
            try verifyWritten(seconds: seconds)
        }
    }

    /// Reads back what the last round has written.
    func verifyWritten(seconds: UInt64 = 20) throws {
        submit(isWrite: false)
        try collect(seconds: seconds)
        for (number, queue) in queues.enumerated() {
            for slot in 0..<options.slotCount {
                let data = queue.queue.data(of: slot)
                for sector in 0..<options.byteCount / 512 {
                    let expected = stamp(number, slot, sector)
                    if data.load(UInt64.self, at: 512 * sector) != expected
                        || data.load(UInt64.self, at: 512 * sector + 504) != expected
                    {
                        throw GuestError(
                            description: "queue \(number + 1) slot \(slot) sector \(sector) "
                                + "reads back something else")
                    }
                }
            }
        }
    }

    /// One write, then one read, of any kind of command; its status.
    func perform(
        on queue: Int = 0, _ submit: (inout NVMeDriverQueue) -> Void
    ) throws -> NVMeAnswerStatus {
        submit(&queues[queue].queue)
        queues[queue].queue.publish()
        let limit = Clock.monotonicNanoseconds() + 10_000_000_000
        while true {
            if let answer = queues[queue].queue.poll() { return answer.status }
            if Clock.monotonicNanoseconds() > limit {
                throw GuestError(description: "no answer")
            }
            Clock.sleep(nanoseconds: 20_000)
        }
    }

    /// Ends the queues by command, the last first.
    func deleteQueues() throws {
        while let last = queues.popLast() { try driver.deleteQueue(id: last.queue.id) }
    }

    // --- events ---

    /// Waits for a namespace change; then asks which, and for the next event.
    func changedNamespaces(seconds: UInt64 = 10) throws -> [UInt32] {
        let limit = Clock.monotonicNanoseconds() + seconds * 1_000_000_000
        while Clock.monotonicNanoseconds() < limit {
            if let event = try driver.nextEvent() {
                guard event.isNamespaceChange, event.logPage == 4 else {
                    throw GuestError(description: "\(event)")
                }
                let changed = try driver.changedNamespaces()
                try driver.requestEvents()
                return changed
            }
            Clock.sleep(nanoseconds: 100_000)
        }
        throw GuestError(description: "no event")
    }

    // --- what must stay quiet ---

    /// Bytes of all memory that change although the device should be quiet: whether there are any.
    func isQuiet(milliseconds: UInt64 = 2) -> Bool {
        let all = memory.bytes.segment
        all.fill(with: 0xC3)
        Clock.sleep(nanoseconds: milliseconds * 1_000_000)
        let count = all.byteCount - 8
        return all.load(UInt64.self) == 0xC3C3_C3C3_C3C3_C3C3
            && all.part(at: 0, byteCount: count).isEqual(to: all.part(at: 8, byteCount: count))
    }
}

/// NVMe controllers of a stack, each with a subsystem of its own.
extension NVMeSubsystems {
    static func nqn(_ index: Int) -> String { "nqn.2026-01.io.softsnap:s\(index)" }
    static func vuid(_ index: Int) -> String { "SOFTSNAP0001NVMES0D0F\(index)" }

    /// Controller `n<index>` on PF `index`, with `devices` as namespaces 1 and up.
    func make(
        _ index: Int, _ devices: [BlockDevice], on vuid: String? = nil, queueCount: Int = 8,
        startsSuspended: Bool = false, patience: Duration? = nil
    ) async throws -> NVMeController {
        let nqn = Self.nqn(index)
        try create(
            NVMeSubsystem(
                nqn: nqn, serialNumber: "serial\(index)", modelNumber: "model",
                namespaceLimit: 32, namespaceCountLimit: 32, isSingleController: false))
        var options = NVMeOptions(
            name: "n\(index)", vuid: vuid ?? Self.vuid(index), nqn: nqn, queueCount: queueCount,
            queueSize: 4096, mdts: 8, firmwareSlotCount: 3)
        options.offersWriteZeroes = true
        options.offersCompare = true
        options.offersDeallocate = true
        options.startsSuspended = startsSuspended || patience != nil
        options.listenerPatience = patience
        let controller = try await create(options)
        for (place, device) in devices.enumerated() {
            try await add(device, UInt32(place + 1), to: index)
        }
        return controller
    }

    func add(_ device: BlockDevice, _ id: UInt32, to index: Int) async throws {
        try createNamespace(
            NVMeNamespaceRequest(
                nqn: Self.nqn(index), id: id, uuid: UUID.random(),
                nguid: Array(repeating: UInt8(id), count: 16), eui64: nil),
            on: device)
        try await attach(id, to: "n\(index)")
    }
}
