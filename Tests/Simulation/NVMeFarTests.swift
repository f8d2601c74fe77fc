import Platform
import Seeds
import Testing

/// Function memory is on another machine, too: each store into it is a transfer or a step.
@Suite struct `Far NVMe controller` {
    @discardableResult
    private func run(
        _ seed: Seed, commands: Int = 120, _ choose: (inout NVMeWorld.Options) -> Void = { _ in }
    ) throws -> NVMeWorld {
        var options = NVMeWorld.Options()
        choose(&options)
        options.isRemote = true
        options.isFar = true
        let world = try NVMeWorld(seed, options)
        try world.run(commands: commands)
        let violations = world.driver.violations
        #expect(violations.isEmpty, "\(seed), \(world.driver.shape): \(violations)")
        return world
    }

    @Test(arguments: Seed.sample(World.share(6)))
    func `answers every command once while the backend fails`(seed: Seed) throws {
        try run(seed) { $0.failsRequests = seed.start % 2 == 0 }
    }

    @Test(arguments: Seed.sample(World.share(6)))
    func `wakes up for whoever rings and then waits`(seed: Seed) throws {
        try run(seed) { $0.usesShadow = seed.start % 2 == 0 }
    }

    @Test(arguments: Seed.sample(World.share(6)))
    func `writes nothing after a reset`(seed: Seed) throws {
        try run(seed) { $0.resets = true }
    }

    @Test(arguments: Seed.sample(World.share(16)))
    func `loses and repeats nothing when it dies between two transfers`(seed: Seed) throws {
        try run(seed) { $0.crashes = true }
    }

    @Test(arguments: Seed.sample(World.share(6)))
    func `makes progress with tiny queues that are always full`(seed: Seed) throws {
        try run(seed, commands: 300) {
            $0.isSaturated = true
            $0.crashes = seed.start % 2 == 0
        }
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on from what is there when its connection has been made again`(
        seed: Seed
    ) throws {
        let world = try run(seed) { $0.breaksConnection = true }
        #expect(world.breaks > 0)
    }

    /// Its host was told that a command is aborted: no successor carries it out. The first seed is
    /// one that did.
    @Test(arguments: [Seed(5_161_043_993_726_119_251)] + Seed.sample(World.share(16)))
    func `says of an Abort what its command says`(seed: Seed) throws {
        try run(seed) {
            $0.aborts = true
            $0.crashes = true
            $0.breaksConnection = true
        }
    }

    @Test(arguments: Seed.sample(World.share(6)))
    func `goes from service to service, whatever its host does`(seed: Seed) throws {
        let world = try run(seed) {
            $0.handsOver = true
            $0.resets = true
        }
        #expect(world.handOvers > 0)
    }

    /// The checkers find what the order is there for.
    @Test func `needs the order of its writes`() throws {
        var options = NVMeWorld.Options()
        options.isRemote = true
        options.isFar = true
        options.reordersWrites = true
        for seed in 0..<40 {
            let world = try NVMeWorld(Seed(UInt64(seed)), options)
            try world.run(commands: 120)
            if !world.driver.violations.isEmpty { return }
        }
        Issue.record("nothing found")
    }

    @Test(arguments: Seed.sample(World.share(16)))
    func `bears it all together`(seed: Seed) throws {
        try run(seed) {
            $0 = .everything
            $0.breaksConnection = true
        }
    }
}
