import Seeds
import Testing

@Suite struct `Simulated NVMe controller` {
    @discardableResult
    private func run(
        _ seed: Seed, commands: Int = 120, _ choose: (inout NVMeWorld.Options) -> Void = { _ in }
    ) throws -> NVMeWorld {
        var options = NVMeWorld.Options()
        choose(&options)
        let world = try NVMeWorld(seed, options)
        try world.run(commands: commands)
        let violations = world.driver.violations
        #expect(violations.isEmpty, "\(seed), \(world.driver.shape): \(violations)")
        return world
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `answers every command once`(seed: Seed) throws { try run(seed) }

    @Test(arguments: Seed.sample(World.share(10)))
    func `answers every command once while the backend fails`(seed: Seed) throws {
        try run(seed) { $0.failsRequests = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `writes nothing after a reset, 4357139`(seed: Seed) throws {
        try run(seed) { $0.resets = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `loses and repeats nothing when it dies at any store, 4403289 and 4491957`(
        seed: Seed
    ) throws {
        try run(seed) { $0.crashes = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `loses nothing when it dies before the first completion of wrapped rings, spdk 3766`(
        seed: Seed
    ) throws {
        var options = NVMeWorld.Options()
        options.deletesQueues = true
        let world = try NVMeWorld(seed, options)
        try world.runToDeath(commands: 120)
        #expect(world.driver.violations.isEmpty, "\(seed): \(world.driver.violations)")
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `wakes up for whoever rings and then waits, 3809646`(seed: Seed) throws {
        try run(seed) { $0.usesShadow = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `makes progress with tiny queues that are always full, 4436211`(seed: Seed) throws {
        try run(seed, commands: 300) {
            $0.isSaturated = true
            $0.crashes = seed.start % 2 == 0
        }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on after any number of suspends and resumes, 4457230`(seed: Seed) throws {
        try run(seed) { $0.suspends = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes from service to service, whatever its host does`(seed: Seed) throws {
        let world = try run(seed) {
            $0.handsOver = true
            $0.resets = true
            $0.failsRequests = true
        }
        #expect(world.handOvers > 0)
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `serves namespaces that come, go and change their size`(seed: Seed) throws {
        try run(seed) { $0.changesNamespaces = true }
    }

    /// Doorbell Buffer Config while its pages were away: doorbells went on at zero.
    @Test(arguments: [7_966_835_004_369_845_015, 8_045_553_967_594_226_663].map(Seed.init))
    func `leaves doorbells where they are while their new pages are away`(seed: Seed) throws {
        try run(seed) { $0.exchangesMemory = true }
    }

    /// Doorbell Buffer Config that a service had carried out was refused by its successor, for
    /// which the pages were away: doorbells were where the driver did not look for them.
    @Test(arguments: [Seed(2_057_488_314_562_790_931)])
    func `stands by doorbells that a predecessor moved`(seed: Seed) throws {
        try run(seed) { $0 = .everything }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on when host memory is taken away and comes back`(seed: Seed) throws {
        try run(seed) { $0.exchangesMemory = true }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `deletes queues and makes them anew, and aborts`(seed: Seed) throws {
        try run(seed) {
            $0.deletesQueues = true
            $0.aborts = true
        }
    }

    @Test(arguments: Seed.sample(World.share(20)))
    func `carries out an admin command once, whatever it dies of`(seed: Seed) throws {
        try run(seed) {
            $0.crashes = true
            $0.aborts = true
            $0.changesNamespaces = true
            $0.deletesQueues = true
        }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `keeps the layout that it finds until the reset`(seed: Seed) throws {
        try run(seed) {
            $0.crashes = true
            $0.resets = true
            $0.deletesQueues = true
            $0.changesLayouts = true
        }
    }

    @Test(arguments: Seed.sample(World.share(40)))
    func `bears it all together`(seed: Seed) throws {
        try run(seed) { $0 = .everything }
    }
}

/// The checkers find what they are there for: each of these bugs is planted.
@Suite struct `NVMe simulation checkers` {
    private func finds(_ text: String, _ choose: (inout NVMeWorld.Options) -> Void) throws {
        var options = NVMeWorld.Options()
        choose(&options)
        for seed in 0..<40 {
            let world = try NVMeWorld(Seed(UInt64(seed)), options)
            try world.run(commands: 150)
            if world.driver.violations.contains(where: { $0.contains(text) }) { return }
        }
        Issue.record("nothing found")
    }

    @Test(arguments: [ChaosBackend.Plant.losesWrite, .tearsWrite, .readsWrongBlock])
    func `find data that is not what was written`(plant: ChaosBackend.Plant) throws {
        try finds("read of block") { $0.plant = plant }
    }

    @Test func `find a write outside granted memory`() throws {
        try finds("outside granted") { $0.plant = .straysWhileReading }
    }

    @Test func `find a lost interrupt`() throws {
        try finds("lost interrupt") { $0.losesInterrupts = true }
    }

    @Test func `find a lost doorbell`() throws {
        try finds("lost doorbell") { $0.losesDoorbells = true }
    }

    @Test func `find a write after a reset`() throws {
        try finds("after the reset") {
            $0.resets = true
            $0.answersAfterReset = true
        }
    }

    @Test func `find admin commands that are carried out twice`() throws {
        try finds("carried out twice") {
            $0.crashes = true
            $0.losesOutcomes = true
        }
    }

    @Test func `find a journal that forgets`() throws {
        try finds("") {
            $0.crashes = true
            $0.losesJournal = true
        }
    }
}
