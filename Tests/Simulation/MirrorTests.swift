import Seeds
import Testing

@Suite struct `Mirrored disk` {
    private func run(
        _ seed: Seed, _ options: MirrorWorld.Options = MirrorWorld.Options(),
        requests: Int = 100
    ) throws {
        let world = try MirrorWorld(seed, options)
        try world.run(requests: requests)
        let violations = world.driver.violations
        #expect(
            violations.isEmpty,
            "\(seed), \(world.driver.shape), \(world.lives) lives: \(violations)")
    }

    @Test(arguments: Seed.sample(World.share(12)))
    func `answers every command once, whatever order reads look at their bytes in`(
        seed: Seed
    ) throws {
        try run(seed)
    }

    @Test(arguments: Seed.sample(World.share(12)))
    func `answers every command once while the backend fails`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(failsRequests: true))
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `writes nothing after a reset, with and without its keys`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(resets: true))
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on after a drain, from its position or from the log`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(drains: true))
    }

    @Test(arguments: Seed.sample(World.share(12)))
    func `loses and repeats nothing when it dies between two transfers`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(crashes: true))
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on from the log when its keys end under it`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(losesKeys: true))
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `goes on when its connection has been made again`(seed: Seed) throws {
        try run(seed, MirrorWorld.Options(breaksConnection: true))
    }

    @Test(arguments: Seed.sample(World.share(10)))
    func `bears it all together`(seed: Seed) throws {
        try run(
            seed,
            MirrorWorld.Options(
                resets: true, crashes: true, drains: true, losesKeys: true,
                breaksConnection: true, failsRequests: true))
    }

    /// Two functions on one queue pair, which breaks when a key ends under a transfer of the one
    /// that is reset.
    @Test func `a reset of one function disturbs no other on its queue pair`() throws {
        var disturbances = 0
        for (number, seed) in Seed.sample(World.share(20) + 100).enumerated() {
            if number >= World.share(20) && disturbances > 0 { break }
            var random = seed
            let wire = SimulatedWire(depth: random.pick(1...40))
            let disturber = try MirrorWorld(
                Seed(random.next()), MirrorWorld.Options(resets: true), over: wire)
            let other = try MirrorWorld(Seed(random.next()), over: wire)
            try MirrorWorld.run([disturber, other], requests: 100)
            for world in [disturber, other] {
                let violations = world.driver.violations
                #expect(violations.isEmpty, "\(seed), \(world.lives) lives: \(violations)")
            }
            #expect(other.driver.answered >= 100)
            disturbances += wire.disturbanceCount
        }
        #expect(disturbances > 0, "nothing was disturbed")
    }

    /// The checkers find what the order is there for.
    @Test func `needs the order of its writes`() throws {
        for seed in 0..<40 {
            let options = MirrorWorld.Options(crashes: true, reordersWrites: true)
            let world = try MirrorWorld(Seed(UInt64(seed)), options)
            try world.run(requests: 100)
            if !world.driver.violations.isEmpty { return }
        }
        Issue.record("nothing found")
    }
}
