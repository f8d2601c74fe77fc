import Platform
import Seeds
import Testing

extension World {
    /// `count` worlds, fewer where everything is slow; SOFTSNAP_SIMULATION=n in the environment
    /// makes them n times as many.
    static func share(_ count: Int) -> Int {
        let times = ProcessFacts.environment("SOFTSNAP_SIMULATION").flatMap(Int.init) ?? 1
        return Effort.of(count * times)
    }
}

@Suite struct `Simulated disk` {
    private func run(
        _ seed: Seed, _ options: World.Options = World.Options(), requests: Int = 150
    ) throws {
        let world = try World(seed, options)
        try world.run(requests: requests)
        let violations = world.driver.violations
        #expect(
            violations.isEmpty,
            "\(seed), \(world.storage), \(world.driver.shape): \(violations)")
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(8)))
    func `answers every command once`(storage: World.Storage, seed: Seed) throws {
        try run(seed, World.Options(storage: storage))
    }

    @Test(arguments: [World.Storage.error, .chaos], Seed.sample(World.share(16)))
    func `answers every command once while the backend fails`(
        storage: World.Storage, seed: Seed
    ) throws {
        try run(seed, World.Options(storage: storage, failsRequests: true))
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(6)))
    func `writes nothing after a reset`(storage: World.Storage, seed: Seed) throws {
        try run(seed, World.Options(storage: storage, failsRequests: true, resets: true))
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(6)))
    func `goes on after a drain, with another channel or from its position`(
        storage: World.Storage, seed: Seed
    ) throws {
        try run(seed, World.Options(storage: storage, drains: true))
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(8)))
    func `loses and repeats nothing when it dies`(storage: World.Storage, seed: Seed) throws {
        try run(seed, World.Options(storage: storage, crashes: true))
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(6)))
    func `marks every page that it writes`(storage: World.Storage, seed: Seed) throws {
        try run(
            seed,
            World.Options(
                storage: storage, failsRequests: true, resets: true, drains: true,
                logsPages: true))
    }

    @Test(arguments: World.Storage.allCases, Seed.sample(World.share(6)))
    func `marks what a predecessor has written`(storage: World.Storage, seed: Seed) throws {
        try run(seed, World.Options(storage: storage, crashes: true, logsPages: true))
    }

    @Test(arguments: Seed.sample(World.share(16)))
    func `bears it all together`(seed: Seed) throws {
        try run(
            seed,
            World.Options(
                failsRequests: true, resets: true, crashes: true, drains: true, logsPages: true))
    }
}

/// The checkers find what they are there for: each of these bugs is planted.
@Suite struct `Simulation checkers` {
    private func finds(_ options: World.Options, _ text: String) throws {
        for seed in 0..<40 {
            let world = try World(Seed(UInt64(seed)), options)
            try world.run(requests: 200)
            if world.driver.violations.contains(where: { $0.contains(text) }) { return }
        }
        Issue.record("nothing found")
    }

    @Test(arguments: [ChaosBackend.Plant.losesWrite, .tearsWrite, .readsWrongBlock])
    func `find data that is not what was written`(plant: ChaosBackend.Plant) throws {
        try finds(World.Options(storage: .chaos, plant: plant), "read of block")
    }

    @Test func `find a write outside granted memory`() throws {
        try finds(World.Options(storage: .chaos, plant: .straysWhileReading), "outside granted")
    }

    @Test func `find a page that is not marked`() throws {
        try finds(
            World.Options(storage: .malloc, logsPages: true, losesMarks: true), "without marking")
    }

    @Test func `find a lost interrupt`() throws {
        try finds(World.Options(storage: .malloc, losesInterrupts: true), "lost interrupt")
    }

    @Test func `find a lost kick`() throws {
        try finds(World.Options(storage: .malloc, losesKicks: true), "lost kick")
    }

    @Test func `find a write after a reset`() throws {
        try finds(
            World.Options(storage: .malloc, resets: true, answersAfterReset: true),
            "after the reset")
    }
}
