import Bdev
import Memory
import Platform
import Seeds
import VirtioBlk
import VirtioDriver

/// A guest's driver, our device and its storage in one thread, under a clock that we move. Every
/// choice comes from the seed.
final class World {
    struct Options {
        var storage: Storage?
        var isPacked: Bool?
        var failsRequests = false
        var resets = false
        var crashes = false
        var drains = false
        var plant: ChaosBackend.Plant?
        var losesInterrupts = false
        var losesKicks = false
        var answersAfterReset = false
        /// A front end wants to know every page that is written.
        var logsPages = false
        var losesMarks = false
    }

    enum Storage: CaseIterable { case null, malloc, delay, error, chaos }

    let options: Options
    let storage: Storage
    var random: Seed
    let space: HostSpace
    let driver: SimulatedDriver
    let backend: any Backend
    let disk: BlockDevice
    let log: Mapping?
    let pages: PageWatch?
    let configuration: BlockQueue.Configuration
    let line = SimulatedLine()
    var device: SimulatedDevice
    var now = Ticks(1000)
    /// Devices that have crashed: their memory stays as long as their storage may use it.
    var graves: [SimulatedDevice] = []
    let start: UInt16

    init(_ seed: Seed, _ options: Options = Options()) throws {
        var random = seed
        self.options = options
        let storage = options.storage ?? Storage.allCases.randomElement(using: &random) ?? .chaos
        self.storage = storage
        let isPacked = options.isPacked ?? random.oneIn(2)
        let shape = SimulatedDriver.Shape(
            size: isPacked ? random.pick(2...40) : 1 << random.pick(1...6), isPacked: isPacked,
            usesEventIndex: random.oneIn(2), allowsIndirect: random.oneIn(3) || random.oneIn(2),
            blockByteCount: random.oneIn(4) ? 4096 : 512, blockCount: random.pick(9...40),
            toleratesFailures: options.failsRequests, supportsUnmap: storage != .null,
            keepsData: storage != .null)
        space = try HostSpace()
        start = isPacked || random.oneIn(2) ? 0 : UInt16.random(in: 0 ... .max, using: &random)
        driver = SimulatedDriver(shape, space, random: Seed(random.next()), start: start)
        backend = try World.makeBackend(storage, shape, options, space, &random)
        disk = BlockDevice(name: "disk", backend: backend)
        let hasLog = options.crashes || random.oneIn(2)
        log = hasLog ? try Mapping.fresh(byteCount: 4096) : nil
        configuration = BlockQueue.Configuration(
            shape: World.blockShape(shape), identifier: Array("serial-0123456789-too-long".utf8),
            isInOrder: random.oneIn(4))
        line.losesOneIn = options.losesInterrupts ? 3 : 0
        pages = options.logsPages ? try PageWatch(losesMarks: options.losesMarks) : nil
        device = try World.makeDevice(
            driver.shape, World.freshPosition(isPacked, start), space, log, configuration, disk,
            line, pages?.marks)
        self.random = random
    }

    static func freshPosition(_ isPacked: Bool, _ start: UInt16) -> VirtqueuePosition {
        VirtqueuePosition(vringBase: isPacked ? 0x8000_8000 : UInt32(start), isPacked: isPacked)
    }

    private static func blockShape(_ shape: SimulatedDriver.Shape) -> BlockShape {
        var promised = BlockShape(
            sectorCount: UInt64(shape.blockCount * shape.blockByteCount / 512),
            blockByteCount: shape.blockByteCount, segmentByteLimit: 65536, segmentLimit: 64,
            queueCount: 1, isReadOnly: false, offersDiscard: shape.supportsUnmap,
            offersWriteZeroes: true)
        promised.hasCache = shape.keepsData
        return promised
    }

    private static func makeBackend(
        _ storage: Storage, _ shape: SimulatedDriver.Shape, _ options: Options,
        _ space: HostSpace, _ random: inout Seed
    ) throws -> any Backend {
        let geometry = BlockGeometry(
            blockByteCount: shape.blockByteCount, blockCount: UInt64(shape.blockCount))
        func ramDisk() throws -> BlockDevice {
            let mapping = try Mapping.fresh(byteCount: Int(geometry.byteCount))
            return BlockDevice(name: "base", backend: MallocBackend(mapping, geometry))
        }
        switch storage {
        case .null: return NullBackend(geometry)
        case .malloc: return try ramDisk().backend
        case .delay:
            return DelayBackend(
                try ramDisk(),
                try DelayLatencies(
                    averageRead: 10, slowRead: 100, averageWrite: 30, slowWrite: 200))
        case .error: return ErrorBackend(try ramDisk())
        case .chaos:
            var temper = ChaosBackend.Temper()
            temper.failsOneIn = options.failsRequests ? 5 : 0
            temper.takesPartOneIn = random.oneIn(2) ? random.pick(2...6) : 0
            temper.longestDelay = UInt64(random.pick(0...60))
            temper.keepsOrder = random.oneIn(2)
            return try ChaosBackend(
                geometry, temper, random: Seed(random.next()), plant: options.plant,
                strayTarget: space.parts(HostSpace.dataStart, HostSpace.regionByteCount)[0])
        }
    }

    static func makeDevice(
        _ shape: SimulatedDriver.Shape, _ position: VirtqueuePosition, _ space: HostSpace,
        _ log: Mapping?, _ configuration: BlockQueue.Configuration, _ disk: BlockDevice,
        _ line: SimulatedLine, _ dirty: DirtyMarks?
    ) throws -> SimulatedDevice {
        let user = HostSpace.ringStart + HostSpace.userShift
        let setup = VirtqueueSetup(
            size: shape.size, isPacked: shape.isPacked, usesEventIndex: shape.usesEventIndex,
            allowsIndirect: shape.allowsIndirect, descriptorArea: user,
            driverArea: user + UInt64(SimulatedDriver.driverOffset),
            deviceArea: user + UInt64(SimulatedDriver.deviceOffset), position: position)
        let channel = try disk.openChannel(depth: shape.size, at: .unwatched)
        let queue = try BlockQueue(
            setup, memory: space.memory, log: log?.bytes, configuration: configuration,
            channel: channel, interrupt: line, counters: QueueCounters(), dirty: dirty)
        return SimulatedDevice(queue, channel: channel)
    }

    // --- running ---

    /// Runs until so many requests have been submitted, then until everything is quiet.
    func run(requests: Int) throws {
        defer { bury() }
        var steps = 0
        while driver.submitted < requests && driver.violations.isEmpty {
            try step()
            steps += 1
            if steps > 400 * requests + 4000 { return complain("no progress") }
        }
        settle()
    }

    private func step() throws {
        switch random.pick(0...9) {
        case 0...2: submit(random.pick(1...8))
        case 3...6: turnDevice()
        case 7: stepDriver()
        case 8: random.oneIn(3) ? skip() : pass(random.pick(1...20))
        default: try disturb()
        }
    }

    func pass(_ ticks: Int) { now = now.advanced(by: UInt64(ticks)) }

    /// Moves the clock to the next event of the device.
    func skip() { now = max(now.advanced(by: 1), device.channel.wakeTime ?? now) }

    func submit(_ count: Int) {
        // A driver that sleeps still submits; only answers wait for its interrupt.
        guard driver.submit(count) else { return }
        if options.losesKicks && random.oneIn(3) { return }
        device.isKicked = true
    }

    func stepDriver() {
        if driver.isAsleep && !line.isPending { return }
        line.isPending = false
        driver.reap(maySleep: true)
    }

    /// A turn of the device, and a look at what it has written.
    func turnDevice() {
        space.remember()
        device.turn(now: now)
        lookAtPages()
        let granted = driver.grantedBuffers(withStatus: true) + driver.deviceAreas
        if !space.isUntouched(except: granted) { complain("wrote outside granted memory") }
        if case .failed(let fault) = device.queue.phase { complain("failed: \(fault.text)") }
    }

    /// Compares what was written since `space.remember()` with the log. Once nothing is under way,
    /// every page that was written has been marked since.
    /// - Parameter isQuiet: also says so.
    func lookAtPages(isQuiet: Bool = false) {
        guard let pages else { return }
        let missing = pages.look(at: space)
        if pages.diesBeforeRingMarks { return }
        if (isQuiet || device.queue.outstanding == 0) && !missing.isEmpty {
            complain("wrote to \(missing.map { $0 << 12 }) without marking it")
        }
    }

    /// Something that may happen at any time.
    private func disturb() throws {
        switch random.pick(0...11) {
        case 0: device.isKicked = true
        case 1: device.queue.interruptAnyway()
        case 2: device.queue.setShape(configuration.shape)
        case 3: line.isPending = true
        case 4 where options.resets: try reset()
        case 5...7 where options.crashes: try crash()
        case 8...9 where options.drains: try drain()
        case 10 where storage == .error && options.failsRequests: try injectFault()
        default: break
        }
    }

    private func injectFault() throws {
        guard let backend = backend as? ErrorBackend else { return }
        if random.oneIn(3) { return backend.clear() }
        let faults: [ErrorInjection.Fault] = [.failure, .noMemory, .pending]
        let fault = faults.randomElement(using: &random) ?? .failure
        backend.inject(try ErrorInjection(fault, count: UInt32(random.pick(1...3))))
    }

    /// Nothing new: everything must be answered and both sides come to rest.
    private func settle() {
        (backend as? ErrorBackend)?.clear()
        for _ in 0..<20_000 where driver.violations.isEmpty {
            stepDriver()
            turnDevice()
            let isStill = device.isAsleep && !device.isKicked && driver.isAsleep && !line.isPending
            if isStill, device.queue.wakeTime == nil {
                return checkRest()
            }
            skip()
        }
        if driver.violations.isEmpty { complain("never comes to rest") }
    }

    private func checkRest() {
        if !driver.running.isEmpty {
            complain(
                driver.ring.hasAnswers
                    ? "lost interrupt: answers wait and the driver sleeps"
                    : "lost kick: \(driver.running.count) requests wait and the device sleeps")
        }
        if driver.answered + driver.withdrawn != driver.submitted {
            complain("\(driver.submitted) requests, \(driver.answered) answers")
        }
        if device.queue.outstanding != 0 { complain("the device still holds requests") }
    }

    func complain(_ text: String) { driver.complain(text) }
}
