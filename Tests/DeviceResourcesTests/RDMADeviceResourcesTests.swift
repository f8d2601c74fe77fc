import Seeds
import Testing

@testable import DeviceResources

@Suite struct `RDMA device resources` {
    private func subfunction(
        _ logKiB: Int, _ pageSize: RDMADevice.PageSize = .kib64
    ) -> RDMADeviceResources {
        RDMADeviceResources(
            RDMADevice(
                name: "mlx5_2", kind: .subfunction, port: 0, pageSize: pageSize,
                barKiB: 1 << logKiB))
    }

    /// Opens a context and creates queue pairs until the device refuses; at most `limit`.
    private func fill(
        _ resources: inout RDMADeviceResources, limit: Int = .max
    ) -> (count: Int, error: RDMAResourceError?) {
        let context = resources.openContext()
        var count = 0
        while count < limit {
            do throws(RDMAResourceError) {
                _ = try resources.createQueuePair(in: context)
                count += 1
            } catch {
                return (count, error)
            }
        }
        return (count, nil)
    }

    /// BAR size, 64 KiB pages, queue pairs of the first context (nil: no limit of registers), and
    /// what further contexts get: so many without limit, then one with 32 or none.
    @Test(
        arguments: [
            (7, 2, 0, 0, false), (8, 4, 32, 0, false), (9, 8, nil, 1, false),
            (10, 16, nil, 3, true),
            (11, 32, nil, 9, false), (12, 64, nil, 19, true),
        ] as [(Int, Int, Int?, Int, Bool)])
    func `give a subfunction what the table of its BAR says`(
        logKiB: Int, pages: Int, first: Int?, further: Int, endsWith32: Bool
    ) {
        var resources = subfunction(logKiB)
        #expect(resources.device.barKiB * 1024 / 65536 == pages)
        #expect(resources.usableQueuePairs == first ?? RDMADevice.queuePairCap)
        // 100 is more than 32, which makes a context ask for its shared page.
        let (count, error) = fill(&resources, limit: 100)
        #expect(count == first ?? 100)
        #expect(error == (first == nil ? nil : .outOfRegisters))
        for _ in 0..<further { #expect(fill(&resources, limit: 100) == (100, nil)) }
        #expect(fill(&resources, limit: 100) == (endsWith32 ? 32 : 0, .outOfRegisters))
        #expect(fill(&resources, limit: 100) == (0, .outOfRegisters))
        #expect(resources.isConserved)
    }

    @Test func `stop at 32 on two subfunctions at once and at 63952 on the PF`() {
        let devices = RDMADevice.all(pageSize: .kib64) { _ in 256 }
        #expect(devices.map(\.name) == ["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3", "mlx5_4"])
        #expect(devices.map(\.port) == [0, 1, 0, 1, 0])
        var ledgers = devices.map { RDMADeviceResources($0) }
        for index in [2, 4, 3] {
            #expect(ledgers[index].advertisedQueuePairs == 131_072)
            #expect(ledgers[index].usableQueuePairs == 32)
            #expect(fill(&ledgers[index]) == (32, .outOfRegisters))
        }
        #expect(ledgers[0].usableQueuePairs == 63_952)
        #expect(fill(&ledgers[0]) == (63_952, .outOfQueuePairs))
        #expect(ledgers[0].usableQueuePairs == 0)
        #expect(ledgers[1].usableQueuePairs == 63_952)
        #expect(RDMAResourceError.outOfRegisters.errorNumber == 12)
    }

    @Test func `give each port's subfunctions their own BAR`() {
        let devices = RDMADevice.all(pageSize: .kib64) { $0 == 0 ? 1024 : 256 }
        let usable = devices.map { RDMADeviceResources($0).usableQueuePairs }
        #expect(usable == [63_952, 63_952, 63_952, 32, 63_952])
    }

    @Test(arguments: 7...12) func `never limit 4 KiB pages below the cap`(logKiB: Int) {
        var resources = subfunction(logKiB, .kib4)
        #expect(resources.usableQueuePairs == RDMADevice.queuePairCap)
        #expect(fill(&resources) == (RDMADevice.queuePairCap, .outOfQueuePairs))
    }

    @Test func `take at most nine 4 KiB pages for a context`() {
        var resources = subfunction(8, .kib4)
        #expect(resources.freePages == 62)
        _ = fill(&resources, limit: 1000)
        #expect(resources.freePages == 62 - 9)
    }

    @Test func `let destroyed queue pairs be created again`() throws {
        var resources = subfunction(8)
        let context = resources.openContext()
        var made: [RDMADeviceResources.QueuePairID] = []
        for _ in 0..<32 { made.append(try resources.createQueuePair(in: context)) }
        #expect(throws: RDMAResourceError.outOfRegisters) {
            try resources.createQueuePair(in: context)
        }
        try resources.destroyQueuePair(made[7])
        #expect(throws: RDMAResourceError.unknownQueuePair) {
            try resources.destroyQueuePair(made[7])
        }
        _ = try resources.createQueuePair(in: context)
        #expect(resources.queuePairCount == 32)
        try resources.closeContext(context)
        #expect(resources.queuePairCount == 0 && resources.usableQueuePairs == 32)
        #expect(throws: RDMAResourceError.unknownContext) { try resources.closeContext(context) }
        #expect(throws: RDMAResourceError.unknownContext) {
            try resources.createQueuePair(in: context)
        }
    }

    @Test func `count what a fresh context could create now`() throws {
        var resources = subfunction(9)
        let first = resources.openContext()
        // Six pages: one for the first context, one for the second, two for its 32, one shared.
        #expect(resources.usableQueuePairs == RDMADevice.queuePairCap)
        for _ in 0..<33 { _ = try resources.createQueuePair(in: first) }
        #expect(resources.usableQueuePairs == RDMADevice.queuePairCap - 33)
        _ = resources.openContext()
        #expect(resources.usableQueuePairs == 32)
        _ = resources.openContext()
        #expect(resources.usableQueuePairs == 0)
    }

    @Test func `stop the process for a device without a BAR`() async {
        await #expect(processExitsWith: .failure) {
            _ = RDMADevice(
                name: "mlx5_2", kind: .subfunction, port: 0, pageSize: .kib4, barKiB: 0)
        }
    }

    @Test(arguments: Seed.sample(24)) func `lose and invent nothing`(seed: Seed) throws {
        var seed = seed
        let pageSize: RDMADevice.PageSize = seed.oneIn(2) ? .kib4 : .kib64
        var resources = subfunction(seed.pick(7...12), pageSize)
        let pages = resources.freePages
        var contexts: [RDMADeviceResources.ContextID] = []
        var queuePairs: [(RDMADeviceResources.QueuePairID, RDMADeviceResources.ContextID)] = []
        for step in 0..<3000 {
            switch seed.pick(0...9) {
            case 0 where contexts.count < 30: contexts.append(resources.openContext())
            case 1 where seed.oneIn(4) && !contexts.isEmpty:
                let context = contexts.remove(at: seed.pick(0...contexts.count - 1))
                try resources.closeContext(context)
                queuePairs.removeAll { $0.1 == context }
            case 2...7 where !contexts.isEmpty:
                let context = contexts[seed.pick(0...contexts.count - 1)]
                let before = resources.queuePairCount
                if let made = try? resources.createQueuePair(in: context) {
                    queuePairs.append((made, context))
                } else {
                    #expect(resources.queuePairCount == before)
                }
            default:
                if queuePairs.isEmpty { break }
                let index = seed.pick(0...queuePairs.count - 1)
                try resources.destroyQueuePair(queuePairs.remove(at: index).0)
            }
            #expect(resources.queuePairCount == queuePairs.count)
            if step % 50 == 0 { try #require(resources.isConserved) }
            if step % 100 == 0 { expectUsable(resources) }
        }
        for context in contexts { try resources.closeContext(context) }
        #expect(resources.freePages == pages && resources.queuePairCount == 0)
    }

    /// `usableQueuePairs` is what a fresh context really gets, on a copy.
    private func expectUsable(_ resources: RDMADeviceResources) {
        var copy = resources
        let usable = resources.usableQueuePairs
        let limit = 200
        #expect(fill(&copy, limit: limit).count == min(usable, limit))
    }
}
