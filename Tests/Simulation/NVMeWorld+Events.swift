import Bdev
import Memory
import NVMe
import Platform
import Seeds
import StoreProbe

/// What interrupts the life of a controller.
extension NVMeWorld {
    /// Something that may happen at any time.
    func disturb() throws {
        switch random.pick(0...(options.breaksConnection ? 20 : 18)) {
        case 0: for index in function.kicks.indices { function.kicks[index] = true }
        case 1: function.lines[random.pick(0...2)].isPending = true
        case 2 where options.resets && random.oneIn(3): reset()
        case 3...5 where options.crashes: try crash()
        case 6...7 where options.suspends: suspendOrResume()
        case 8...9 where options.changesNamespaces: changeNamespace()
        case 10 where options.exchangesMemory: exchangeMemory()
        case 11 where options.deletesQueues: driver.deleteOne()
        case 12 where options.aborts && driver.life == .running: driver.abortOne()
        case 13: driver.moveDoorbells()
        case 15: driver.tune()
        case 16 where options.aborts: driver.abortEvent()
        case 17...18 where options.handsOver: try handOver()
        case 19...20: if controller.breakConnection() { breaks += 1 }
        case 14
        where driver.life == .running
            && !driver.admin.values.contains {
                $0.byteCount > 0
            }:
            driver.identify()
        default: break
        }
    }

    private func reset() {
        guard driver.life == .running || driver.life == .settingUp else { return }
        switch random.pick(0...3) {
        case 0: driver.levelReset()
        case 1 where driver.life == .running: driver.shutDown()
        default: driver.disable()
        }
    }

    private func suspendOrResume() {
        if controller.isSuspended {
            controller.resume()
        } else {
            controller.suspend(givesUp: random.oneIn(3))
        }
    }

    // --- namespaces ---

    private func changeNamespace() {
        // What changes before a successor has taken up its driver is not told (NVMeController).
        guard controller.followed > 0, let namespace = namespaces.randomElement(using: &random),
            !namespace.isChanging
        else { return }
        follow(namespace)
    }

    func follow(_ namespace: SimulatedNamespace) {
        namespace.isChanging = true
        if driver.admin.values.contains(where: \.isEvent) { driver.unread.insert(namespace.id) }
        driver.widen(namespace: namespace.id)
        let whole = Int(namespace.backend.geometry.blockCount)
        controller.follow(
            namespace, isAttached: !random.oneIn(3), blockCount: random.pick(whole / 2...whole))
    }

    // --- memory ---

    /// The host's table changes: the same regions anew, or without the rings, or without data.
    private func exchangeMemory() {
        memoryGeneration += 1
        if driver.isSpacePartial { return restoreMemory() }
        let lost: Set<Int> = random.oneIn(3) ? [] : [random.pick(1...2)]
        if !lost.isEmpty {
            driver.isSpacePartial = true
            driver.widen(namespace: nil)
        }
        function.grant(space.table(generation: memoryGeneration, without: lost))
    }

    func restoreMemory() {
        memoryGeneration += 1
        let generation = memoryGeneration
        function.grant(space.table(generation: generation, without: []))
        controller.perform { [unowned self] in
            // Behind the controller's own exchange, which is queued at its next turn.
            controller.perform { [unowned self] in
                // Something may have been lost again meanwhile.
                if memoryGeneration == generation, controller.memory?.generation == generation {
                    driver.isSpacePartial = false
                }
                return true
            }
            return true
        }
    }

    // --- hand-over ---

    /// The service stops, whatever its host does meanwhile, and another one goes on from what it
    /// has left. A service that cannot stop in time goes on itself.
    private func handOver() throws {
        if controller.isSuspended { return }
        controller.suspend(givesUp: false)
        // Transfers take their time.
        let limit = random.pick(1...(options.isRemote ? 900 : 300))
        for _ in 0..<limit where !controller.isHalted {
            if random.oneIn(4) { stepDriver(spontaneously: true) }
            turn()
            random.oneIn(2) ? skip() : pass(random.pick(1...20))
        }
        guard controller.isHalted else { return controller.resume() }
        let former = controller
        try startSuccessor()
        for _ in 0..<random.pick(0...5) { turn() }
        // Two services live, and one of them has the function.
        space.remember()
        for _ in 0..<3 {
            former.idle(now: now)
            pass(1)
        }
        if !space.isUntouched(except: []) { complain("wrote after it had handed over") }
        handOvers += 1
        former.bury(now: now)
        former.abandon()
    }

    // --- death ---

    /// The service dies without ceremony, between two turns or between two stores of one. Its
    /// storage ends what it has begun (the predecessor rule); a successor adopts what is left.
    private func crash() throws {
        if store_probe_is_available(), !random.oneIn(4) { dieInTurn() }
        try replaceController()
    }

    /// What storage has begun ends; a successor takes over.
    func replaceController() throws {
        let old = controller
        old.site?.wire.cut()
        old.bury(now: now)
        if options.losesOutcomes {
            for area in function.outcomeMarks { area.storeRelease64(0, at: 0) }
        }
        if options.losesJournal {
            for area in function.journalAreas.dropFirst() { area.segment.fill(with: 0) }
        }
        try startSuccessor()
        old.abandon()
    }

    /// Another service adopts the function as it is.
    private func startSuccessor() throws {
        let driver = driver
        controller = try SimulatedController(
            function, namespaces, isSuspended: false,
            layout: options.changesLayouts ? random.pick(1...2) : MemoryVersions.newest,
            site: try NVMeWorld.site(options, space, function, &random)
        ) { driver.complain($0) }
        // The operator asks again, when the successor has taken up its driver.
        for namespace in namespaces where namespace.isChanging {
            let successor = controller
            controller.perform { [unowned self, unowned successor] in
                successor.perform { [unowned self] in
                    follow(namespace)
                    return true
                }
                return true
            }
        }
        if driver.isSpacePartial { restoreMemory() }
    }

    /// Dies in front of some store into the journal or the rings: memory is put back to what it
    /// held there.
    private func dieInTurn() {
        let areas = space.areas + [function.journalFile.bytes, function.page.bytes]
        let images = areas.map { area -> Mapping? in try? Mapping.fresh(byteCount: area.byteCount) }
        for (area, image) in zip(areas, images) {
            guard let image else { return }
            store_probe_keep(area.address, area.byteCount, image.bytes.address)
        }
        for area in function.journalAreas + [space.areas[2]] {
            store_probe_watch(area.address, area.byteCount)
        }
        store_probe_start(UInt64(random.oneIn(2) ? random.pick(0...12) : random.pick(0...120)))
        for _ in 0..<3 where !store_probe_has_cut() {
            controller.turn(now: now, steps: 3)
            pass(1)
        }
        guard store_probe_stop() else { return }
        cuts += 1
        for (area, image) in zip(areas, images) {
            guard let image else { return }
            area.segment.copy(from: image.bytes.segment)
        }
    }
}
