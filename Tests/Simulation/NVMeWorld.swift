import Bdev
import Memory
import NVMe
import Platform
import Seeds

/// A host's NVMe driver, our controller and its disks in one thread, under a clock that we move.
/// Every choice comes from the seed.
final class NVMeWorld {
    struct Options {
        var failsRequests = false
        var resets = false
        var crashes = false
        var suspends = false
        var handsOver = false
        var changesNamespaces = false
        var exchangesMemory = false
        var deletesQueues = false
        var aborts = false
        var usesShadow: Bool?
        /// Queues of two to four entries, and a driver that always has more.
        var isSaturated = false
        var plant: ChaosBackend.Plant?
        var losesDoorbells = false
        var losesInterrupts = false
        var answersAfterReset = false
        /// Each service wants one layout or another of function memory.
        var changesLayouts = false
        /// Successors are not told which admin commands were settled.
        var losesOutcomes = false
        /// Function memory forgets what was in flight when the service dies.
        var losesJournal = false
        /// Host memory is reached by transfers only.
        var isRemote = false
        /// Function memory too: it is on another machine.
        var isFar = false
        /// Its connection breaks and is made again.
        var breaksConnection = false
        /// A bug on purpose: writes take effect in any order.
        var reordersWrites = false

        static var everything: Options {
            var options = Options()
            options.failsRequests = true
            options.resets = true
            options.crashes = true
            options.suspends = true
            options.handsOver = true
            options.changesNamespaces = true
            options.exchangesMemory = true
            options.deletesQueues = true
            options.aborts = true
            options.changesLayouts = true
            return options
        }
    }

    let options: Options
    var random: Seed
    let space: HostSpace
    let function: SimulatedFunction
    let namespaces: [SimulatedNamespace]
    let driver: SimulatedNVMeDriver
    var controller: SimulatedController
    var now = Ticks(1000)
    var memoryGeneration: UInt64 = 1
    /// Deaths between two stores.
    var cuts = 0
    var handOvers = 0
    /// Connections that broke.
    var breaks = 0
    private var turns = 0

    init(_ seed: Seed, _ options: Options = Options()) throws {
        var random = seed
        self.options = options
        space = try HostSpace()
        function = try SimulatedFunction(space.memory, isMapped: random.oneIn(5) && !options.isFar)
        var made: [SimulatedNamespace] = []
        for id in 1...UInt32(random.pick(1...2)) {
            made.append(try NVMeWorld.makeNamespace(id, options, space, &random))
        }
        namespaces = made
        let shape = SimulatedNVMeDriver.Shape(
            usesShadow: options.usesShadow ?? random.oneIn(2),
            toleratesFailures: options.failsRequests, completionQueues: random.pick(1...2),
            submissionQueues: random.pick(1...4), hasTinyQueues: options.isSaturated,
            fuses: !options.isRemote)
        let driver = SimulatedNVMeDriver(
            shape, function, space, made, random: Seed(random.next()))
        self.driver = driver
        for line in function.lines { line.losesOneIn = options.losesInterrupts ? 3 : 0 }
        controller = try SimulatedController(
            function, made, isSuspended: false,
            layout: options.changesLayouts ? random.pick(1...2) : MemoryVersions.newest,
            site: try NVMeWorld.site(options, space, function, &random)
        ) { driver.complain($0) }
        self.random = random
    }

    /// How the next service reaches host memory; nil: it maps it.
    static func site(
        _ options: Options, _ space: HostSpace, _ function: SimulatedFunction,
        _ random: inout Seed
    ) throws -> SimulatedSite? {
        if !options.isRemote { return nil }
        let site = try SimulatedSite(
            space, far: options.isFar ? function : nil, random: Seed(random.next()))
        site.wire.reordersWrites = options.reordersWrites
        return site
    }

    private static func makeNamespace(
        _ id: UInt32, _ options: Options, _ space: HostSpace, _ random: inout Seed
    ) throws -> SimulatedNamespace {
        let isLarge = random.oneIn(3)
        var temper = ChaosBackend.Temper()
        temper.failsOneIn = options.failsRequests ? 6 : 0
        temper.takesPartOneIn = random.oneIn(2) ? random.pick(2...6) : 0
        temper.longestDelay = UInt64(random.pick(0...60))
        temper.keepsOrder = random.oneIn(2)
        let backend = try ChaosBackend(
            BlockGeometry(
                blockByteCount: isLarge ? 4096 : 512,
                blockCount: UInt64(isLarge ? random.pick(6...16) : random.pick(9...60))),
            temper, random: Seed(random.next()), plant: options.plant,
            strayTarget: space.parts(HostSpace.dataStart, HostSpace.regionByteCount)[0])
        return SimulatedNamespace(id: id, backend: backend)
    }

    // --- running ---

    /// Runs until so many commands were submitted and every kind of event that is asked for has
    /// come at least once, then until everything is quiet.
    func run(commands: Int) throws {
        defer { controller.bury(now: now) }
        var steps = 0
        while (driver.submitted < commands || isUneventful) && driver.violations.isEmpty {
            try step()
            steps += 1
            if steps > 400 * commands + 8000 {
                return complain("no progress: \(driver.life), \(controller.condition)")
            }
        }
        try settle()
    }

    /// A hand-over or a broken connection is asked for, and none has come yet.
    private var isUneventful: Bool {
        options.breaksConnection && breaks == 0 || options.handsOver && handOvers == 0
    }

    /// As `run`, but ends with two deaths in a row after commands were taken and before one is
    /// answered.
    func runToDeath(commands: Int) throws {
        defer { controller.bury(now: now) }
        for _ in 0..<400 * commands where driver.submitted < commands { try step() }
        for _ in 0..<400 where driver.life != .running || !driver.running.isEmpty {
            stepDriver(spontaneously: true)
            controller.turn(now: now, steps: 4)
            skip()
        }
        for _ in 0..<4 { submit(8) }
        for id in controller.queueIDs {
            controller.queues[id]?.heat()
            controller.queues[id]?.turn(now: now)
        }
        try replaceController()
        controller.turn(now: now, steps: 4)
        try replaceController()
        try settle()
    }

    private func step() throws {
        if options.isSaturated { submit(8) }
        switch random.pick(0...9) {
        case 0...2: submit(random.pick(1...8))
        case 3...6: turn()
        case 7: stepDriver(spontaneously: true)
        case 8: random.oneIn(3) ? skip() : pass(random.pick(1...20))
        default: try disturb()
        }
    }

    func pass(_ ticks: Int) { now = now.advanced(by: UInt64(ticks)) }

    /// Moves the clock to the next event of a device.
    func skip() {
        let times = controller.queues.values.compactMap { $0.queue.wakeTime }
        now = max(now.advanced(by: 1), times.min() ?? now)
    }

    private func submit(_ count: Int) {
        driver.submit(count, rings: !(options.losesDoorbells && random.oneIn(3)))
    }

    func stepDriver(spontaneously: Bool) {
        let old = driver.life
        driver.step(spontaneously: spontaneously)
        if old == .resetting, driver.life == .off { afterReset() }
    }

    /// A turn of the service, and at times a look at what it has written.
    func turn() {
        turns += 1
        let isWatched = turns % 3 == 0 || options.plant == .straysWhileReading
        let granted = isWatched ? driver.granted() : []
        if isWatched { space.remember() }
        controller.turn(now: now, steps: random.pick(0...4))
        if isWatched, !space.isUntouched(except: granted) {
            complain("wrote outside granted memory")
        }
    }

    /// The reset is acknowledged: nothing may be written any more.
    private func afterReset() {
        driver.takeBack()
        space.fill(with: 0x55)
        space.remember()
        for _ in 0..<20 {
            controller.turn(now: now, steps: 4)
            pass(10)
        }
        if options.answersAfterReset { space.parts(HostSpace.dataStart, 1)[0].store(UInt8(0x56)) }
        if !space.isUntouched(except: []) { complain("wrote after the reset was acknowledged") }
    }

    func complain(_ text: String) { driver.complain(text) }

    // --- the end ---

    /// Nothing new: everything must be answered, and both sides come to rest.
    private func settle() throws {
        controller.resume()
        restoreMemory()
        for namespace in namespaces where namespace.isChanging { follow(namespace) }
        for _ in 0..<20_000 where driver.violations.isEmpty {
            stepDriver(spontaneously: false)
            controller.turn(now: now, steps: 4)
            let isQuiet = driver.life == .running && !function.lines.contains(where: \.isPending)
            if isQuiet, controller.isAtRest { return checkRest() }
            skip()
        }
        if driver.violations.isEmpty {
            complain("never comes to rest: \(driver.life), \(controller.condition)")
        }
    }

    private func checkRest() {
        if !driver.running.isEmpty {
            complain(
                driver.hasAnswers
                    ? "lost interrupt: completions wait and the driver sleeps"
                    : "lost doorbell: \(driver.running.count) commands wait, the device sleeps")
        }
        let open = driver.admin.values.filter { !$0.isEvent }
        if !open.isEmpty { complain("\(open.count) admin commands wait: \(open.map(\.kind))") }
        if driver.answered + driver.withdrawn != driver.submitted {
            complain("\(driver.submitted) commands, \(driver.answered) answers")
        }
        if controller.queues.values.contains(where: { $0.queue.outstanding != 0 }) {
            complain("the device still holds commands")
        }
        // What came back to where it was while no service was there is no change.
        for id in driver.unread.sorted() where driver.known[id] != driver.present[id] {
            complain("the driver was not told of namespace \(id)")
        }
    }
}
