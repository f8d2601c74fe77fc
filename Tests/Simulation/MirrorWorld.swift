import Bdev
import Bounded
import Memory
import Platform
import Seeds
import VirtioBlk
import VirtioDriver

/// A guest's driver, a mirrored queue and the channel between them in one thread: the RDMA data
/// path without a device. Every choice comes from the seed.
final class MirrorWorld {
    struct Options {
        var resets = false
        var crashes = false
        var drains = false
        var losesKeys = false
        var breaksConnection = false
        var reordersWrites = false
        var failsRequests = false
    }

    let options: Options
    /// Of all services, and of other worlds too; nil: each service has one of its own.
    let sharedWire: SimulatedWire?
    var random: Seed
    let space: HostSpace
    let driver: SimulatedDriver
    let backend: ChaosBackend
    let disk: BlockDevice
    let log: Mapping
    let configuration: BlockQueue.Configuration
    let line = SimulatedLine()
    var run: UInt64 = 1
    private(set) var now = Ticks(1000)
    private var service: Service?
    private var graves: [Service] = []
    private var start: UInt16
    private var isKicked = false
    /// Left alone by its reactor, until its time.
    private var isResting = false
    private(set) var lives = 1
    private var steps = 0
    private var wireAge = 0

    init(
        _ seed: Seed, _ options: Options = Options(), over wire: SimulatedWire? = nil
    ) throws {
        precondition(wire == nil || !options.crashes, "a service dies with all of its queues")
        var random = seed
        sharedWire = wire
        self.options = options
        let isPacked = random.oneIn(2)
        let shape = SimulatedDriver.Shape(
            size: isPacked ? random.pick(2...40) : 1 << random.pick(1...6), isPacked: isPacked,
            usesEventIndex: random.oneIn(2),
            allowsIndirect: random.oneIn(3) || random.oneIn(2),
            blockByteCount: random.oneIn(4) ? 4096 : 512, blockCount: random.pick(9...40),
            toleratesFailures: options.failsRequests)
        space = try HostSpace()
        start = isPacked || random.oneIn(2) ? 0 : UInt16.random(in: 0 ... .max, using: &random)
        driver = SimulatedDriver(shape, space, random: Seed(random.next()), start: start)
        let geometry = BlockGeometry(
            blockByteCount: shape.blockByteCount, blockCount: UInt64(shape.blockCount))
        var temper = ChaosBackend.Temper()
        temper.failsOneIn = options.failsRequests ? 5 : 0
        temper.takesPartOneIn = random.oneIn(2) ? random.pick(2...6) : 0
        temper.longestDelay = UInt64(random.pick(0...60))
        temper.keepsOrder = random.oneIn(2)
        backend = try ChaosBackend(
            geometry, temper, random: Seed(random.next()), plant: nil,
            strayTarget: space.parts(HostSpace.dataStart, 4096)[0])
        disk = BlockDevice(name: "disk", backend: backend)
        log = try Mapping.fresh(byteCount: 4096)
        var promised = BlockShape(
            sectorCount: UInt64(shape.blockCount * shape.blockByteCount / 512),
            blockByteCount: shape.blockByteCount, segmentByteLimit: 65536, segmentLimit: 64,
            queueCount: 1, isReadOnly: false, offersDiscard: true, offersWriteZeroes: true)
        promised.hasCache = true
        configuration = BlockQueue.Configuration(
            shape: promised, identifier: Array("serial-0123456789-too-long".utf8),
            isInOrder: random.oneIn(4))
        self.random = random
        try begin()
    }

    /// - Parameter base: what the predecessor has said; nil: it said nothing, or was none.
    private func begin(at base: UInt32? = nil) throws {
        isResting = false
        let isPacked = driver.shape.isPacked
        let position =
            base.map { VirtqueuePosition(vringBase: $0, isPacked: isPacked) }
            ?? World.freshPosition(isPacked, start)
        service = try Service(self, position: position, random: &random)
    }

    // --- running ---

    func run(requests: Int) throws {
        while driver.submitted < requests, driver.violations.isEmpty {
            try step()
            if steps > 4000 * requests { return driver.complain("no progress") }
        }
        try settle()
        bury()
    }

    /// Runs several functions at once.
    static func run(_ worlds: [MirrorWorld], requests: Int) throws {
        while let slowest = worlds.map(\.driver.submitted).min(), slowest < requests {
            for world in worlds {
                try world.step()
                if !world.driver.violations.isEmpty { return }
                if world.steps > 40_000 * requests { return world.driver.complain("no progress") }
            }
        }
        for world in worlds { try world.settle() }
        for world in worlds { world.bury() }
    }

    private func step() throws {
        steps += 1
        try replaceLost()
        switch random.pick(0...19) {
        case 0...1: submit(random.pick(1...8))
        case 2...11: turn()
        case 12...15: stepDriver()
        case 16...17: pass(UInt64(random.pick(1...20)))
        case 18: isKicked = true
        default: try disturb()
        }
    }

    private func pass(_ ticks: UInt64) { now = now.advanced(by: ticks) }

    private func submit(_ count: Int) { if driver.submit(count) { isKicked = true } }

    private func stepDriver() {
        if driver.isAsleep && !line.isPending { return }
        line.isPending = false
        driver.reap(maySleep: true)
    }

    /// Some steps of the channel, each looked at, and a turn of the queue.
    private func turn() {
        mend()
        guard let service else { return }
        if isKicked && service.host.isOpen {
            isKicked = false
            service.queue.kick()
        }
        let isWatched = random.oneIn(4)
        if isWatched { space.remember() }
        for _ in 0..<random.pick(1...30) { service.host.wire.step(&random) }
        let granted = driver.grantedBuffers(withStatus: true) + driver.deviceAreas
        if isWatched && !space.isUntouched(except: granted) {
            driver.complain("wrote outside granted memory")
        }
        poll(service)
        if case .failed(let fault) = service.queue.phase {
            driver.complain("failed: \(fault.text)")
        }
    }

    /// What a reactor does: a queue without work is left alone until its time, or until an event
    /// of its storage.
    private func poll(_ service: Service) {
        if isResting, service.queue.outstanding == 0 {
            guard let time = service.queue.wakeTime, time <= now else { return }
        }
        isResting = false
        let done = service.queue.poll(now: now)
        if done == 0, !service.queue.canSend { isResting = random.oneIn(3) }
    }

    private func disturb() throws {
        switch random.pick(0...7) {
        case 0 where options.resets: try reset()
        case 1...2 where options.crashes: try crash()
        case 3...4 where options.drains: try drain()
        case 5 where options.losesKeys: try loseKeys()
        case 6 where options.breaksConnection: try breakConnection()
        default: break
        }
    }

    /// Nothing new: everything must be answered and both sides come to rest.
    private func settle() throws {
        for _ in 0..<200_000 where driver.violations.isEmpty {
            stepDriver()
            try replaceLost()
            turn()
            pass(10)
            guard let service else { return }
            let isStill =
                service.queue.isAsleep && service.host.wire.isIdle && service.queue.outstanding == 0
                && !isKicked && driver.isAsleep && !line.isPending
            if isStill { return checkRest(service) }
        }
        if driver.violations.isEmpty { driver.complain("never comes to rest") }
    }

    private func checkRest(_ service: Service) {
        if !driver.running.isEmpty {
            driver.complain(
                driver.ring.hasAnswers ? "lost interrupt" : "lost kick: \(driver.running.count)")
        }
        if driver.answered + driver.withdrawn != driver.submitted {
            driver.complain("\(driver.submitted) requests, \(driver.answered) answers")
        }
    }

    /// Makes a new connection when there is none.
    private func mend() {
        guard let service else { return }
        let wire = service.host.wire
        if wire.hasFailed && wire.isOpen { wire.close() }
        if !wire.isOpen && random.oneIn(20) { wire.open() }
        if wire.isOpen && wireAge != wire.age {
            wireAge = wire.age
            isKicked = true  // The host's side does that.
        }
    }

    /// Makes a new queue in the place of one that another function's reset has cost its transfers.
    private func replaceLost() throws {
        guard let service, sharedWire != nil else { return }
        if !service.queue.isLost || !service.queue.isDrained { return }
        service.close()
        bury()
        try begin()
    }

    // --- what ends a service's queue ---

    private func drain() throws {
        guard let service else { return }
        service.queue.drain()
        isResting = false
        try wait("drain") { service.queue.isDrained }
        staysQuiet(service)
        let position = service.queue.position
        switch random.pick(0...2) {
        case 0:
            service.queue.resume()
            isResting = false
            isKicked = true
        case 1:
            service.close()
            bury()
            try begin(at: position.vringBase(isPacked: driver.shape.isPacked))
        default:
            // Another service goes on from the log.
            service.close()
            bury()
            try begin()
        }
    }

    /// A drained queue does nothing, whatever it hears.
    private func staysQuiet(_ service: Service) {
        let count = service.host.transferCount
        for _ in 0..<10 {
            if random.oneIn(4) { service.queue.kick() }
            if random.oneIn(4) { service.queue.interruptAnyway() }
            service.host.wire.open()
            _ = service.queue.poll(now: now)
            pass(10)
        }
        if service.host.transferCount != count || !service.queue.isDrained {
            driver.complain("\(service.host.transferCount - count) transfers after the drain")
        }
    }

    /// The driver takes its ring back. The host's side ends the keys, or waits for the queue;
    /// afterwards nothing is written.
    private func reset() throws {
        guard let service else { return }
        service.queue.discard()
        isResting = false
        if random.oneIn(2) {
            service.host.endKeys()
        } else {
            try wait("end after a reset") { service.queue.isDrained }
            staysQuiet(service)
        }
        driver.reset()
        space.remember()
        for _ in 0..<40 {
            service.host.wire.step(&random)
            _ = service.queue.poll(now: now)
            pass(10)
        }
        if !space.isUntouched(except: []) {
            driver.complain("wrote after the reset was acknowledged")
        }
        try wait("end without its keys") { service.queue.isDrained }
        service.close()
        bury()
        run += 1
        start = 0
        try begin()
    }

    /// The service dies: its transfers stop where they are, its storage ends what it has begun.
    private func crash() throws {
        service?.host.wire.cut()
        bury()
        try begin()
    }

    /// All keys end under a driver that goes on, and new ones come: the same service starts again.
    private func loseKeys() throws {
        guard let service else { return }
        service.host.wire.open()
        service.host.endKeys()
        service.queue.kick()
        for _ in 0..<1000 where !(service.queue.isLost && service.queue.isDrained) {
            service.host.wire.step(&random)
            _ = service.queue.poll(now: now)
            pass(10)
        }
        if !service.queue.isLost || !service.queue.isDrained {
            driver.complain("does not notice that its keys have ended")
        }
        bury()
        try begin()
    }

    /// The connection breaks. A queue that had something under way is made again; others go on.
    private func breakConnection() throws {
        guard let service, service.host.isOpen else { return }
        service.host.wire.close()
        if !service.queue.isLost || sharedWire != nil { return }
        try wait("end after its connection") { service.queue.isDrained }
        service.close()
        bury()
        try begin()
    }

    private func wait(_ what: String, until condition: () -> Bool) throws {
        for _ in 0..<20_000 where !condition() && driver.violations.isEmpty {
            turn()
            pass(10)
        }
        if !condition() { driver.complain("does not \(what)") }
    }

    private func bury() {
        guard let service else { return }
        self.service = nil
        lives += 1
        if sharedWire == nil { service.host.wire.cut() }
        var completions = CompletionBatch(capacity: 256)
        while service.storage.outstanding > 0 {
            completions.removeAll()
            service.storage.abandonHeld()
            service.storage.poll(into: &completions, now: now)
            pass(10)
        }
        graves.append(service)
    }
}
