import JSONRPC
import LiveUpgrade
import Synchronization
import Testing

@Suite struct `Live upgrade` {
    private static let nqn = JSONValue.string("nqn.2026-01.io.softsnap:u")

    /// A card, a service that has a PF with two VFs and an NVMe PF, and one that has nothing.
    private struct House {
        let card = FakeCard()
        let old: FakeService
        let new: FakeService

        init() async throws {
            old = FakeService("old", on: card)
            new = FakeService("new", on: card)
            try await make("bdev_malloc_create", ["name": "M"])
            try await make("bdev_aio_create", ["name": "F", "filename": "/disk"])
            try await make("nvme_subsystem_create", ["nqn": nqn])
            try await make("nvme_namespace_create", ["nqn": nqn, "nsid": 1, "bdev_name": "M"])
            // A VF before its PF: the plan puts them in order.
            for (name, vuid) in [
                ("V2", "VBLKS0D0F0VF2"), ("P", "VBLKS0D0F0"), ("V1", "VBLKS0D0F0VF1"),
            ] {
                try await make(
                    "virtio_blk_controller_create",
                    ["vuid": .string(vuid), "ctrl_id": .string(name), "bdev": "F"])
            }
            try await make(
                "nvme_controller_create", ["nqn": nqn, "vuid": "NVMES0D0F0", "ctrl_id": "N"])
            try await make("nvme_controller_attach_ns", ["ctrl_id": "N", "nsid": 1])
            card.fail(call: nil)
        }

        private func make(_ method: String, _ params: JSONObject) async throws {
            _ = try await old.call(method, params)
        }

        func plan(_ options: UpgradePlan.Options = .init()) async throws -> UpgradePlan {
            try UpgradePlan(
                from: try await ServicePicture.read(old), to: try await ServicePicture.read(new),
                options)
        }

        func upgrade(_ options: UpgradePlan.Options = .init()) async throws -> [UpgradeRun.Outcome]
        {
            let plan = try await plan(options)
            return try await run.perform(plan)
        }

        /// Of an upgrade in which nothing fails.
        static func callCount(_ options: UpgradePlan.Options = .init()) async throws -> Int {
            let house = try await House()
            _ = try await house.upgrade(options)
            return house.card.log.count
        }

        var run: UpgradeRun { UpgradeRun(from: old, to: new) { _ in } }
    }

    private func everything(_ house: House) async throws -> ServicePicture {
        try await ServicePicture.read(house.old)
    }

    private func expect(_ house: House, _ before: ServicePicture, isAt service: FakeService)
        async
        throws
    {
        let now = try await ServicePicture.read(service)
        #expect(Set(now.objects.map(\.text)) == Set(before.objects.map(\.text)))
        #expect(
            Set(now.controllers.map(\.vuid)) == Set(before.controllers.map(\.vuid)))
        for controller in now.controllers {
            #expect(controller.state == "STARTED" && controller.part == nil, "\(controller)")
            #expect(house.card.holder(of: controller.vuid) == service.name)
        }
    }

    @Test(arguments: [false, true])
    func `moves everything, a PF before its VFs`(recreating: Bool) async throws {
        let house = try await House()
        let before = try await everything(house)
        var options = UpgradePlan.Options()
        options.recreates = recreating
        let outcomes = try await house.upgrade(options)
        #expect(
            outcomes.map(\.vuid) == [
                "VBLKS0D0F0", "VBLKS0D0F0VF2", "VBLKS0D0F0VF1", "NVMES0D0F0",
            ])
        #expect(outcomes.allSatisfy { $0.gapMicroseconds == (recreating ? nil : 700) })
        try await expect(house, before, isAt: house.new)
        #expect(try await house.run.verify(before) == [])
        let left = try await everything(house)
        #expect(left.objects.isEmpty && left.controllers.isEmpty)
    }

    /// Whichever call fails: everything is at one end, or a second run brings it there.
    @Test(arguments: [false, true])
    func `survives the failure of any call`(recreating: Bool) async throws {
        var options = UpgradePlan.Options()
        options.recreates = recreating
        let count = try await House.callCount(options)
        for call in 1...count {
            let house = try await House()
            let before = try await everything(house)
            house.card.fail(call: call)
            do {
                _ = try await house.upgrade(options)
            } catch let failure as UpgradeRun.Failure {
                if failure.left.isEmpty { try await expect(house, before, isAt: house.old) }
            }
            for controller in before.controllers {
                #expect(house.card.holder(of: controller.vuid) != nil, "call \(call)")
            }
            house.card.fail(call: nil)
            _ = try await house.upgrade(options)
            try await expect(house, before, isAt: house.new)
        }
    }

    /// A destination that dies in a creation holds the function for a moment: the source gets it
    /// back when it does so no more, and what it never gets back is named.
    @Test(arguments: [3, 1_000_000])
    func `puts a function back that is held for a while`(times: Int) async throws {
        var options = UpgradePlan.Options()
        options.recreates = true
        let creation = try await {
            let house = try await House()
            _ = try await house.upgrade(options)
            return house.card.log.firstIndex(of: "new virtio_blk_controller_create") ?? 0
        }()
        let house = try await House()
        let before = try await everything(house)
        house.card.fail(call: creation + 1, times: times)
        let failure = await #expect(throws: UpgradeRun.Failure.self) {
            try await house.upgrade(options)
        }
        if times == 3 {
            #expect(failure?.left == [])
            return try await expect(house, before, isAt: house.old)
        }
        let left = failure?.left.first ?? ""
        #expect(left.hasPrefix("function VBLKS0D0F0 is not at old again ("), "\(left)")
        #expect(left.contains("virtio_blk_controller_create vuid=VBLKS0D0F0 ctrl_id=P bdev=F"))
    }

    /// The source dies before any call, and a listener that has some of the namespaces, or none,
    /// inherits the function.
    @Test func `survives the death of the source`() async throws {
        let count = try await House.callCount()
        for call in 1...count {
            let house = try await House()
            let before = try await everything(house)
            house.card.owners.withLock { $0.dying = (call, house.old) }
            do { _ = try await house.upgrade() } catch is UpgradeRun.Failure {}
            house.card.owners.withLock { $0.dying = nil }
            _ = try await house.upgrade()
            try await expect(house, before, isAt: house.new)
        }
    }

    /// The tool dies before any call: the next run goes on.
    @Test func `goes on after its own death`() async throws {
        let count = try await House.callCount()
        for call in 1...count {
            let house = try await House()
            let before = try await everything(house)
            // From this call on nothing reaches a service any more, as if the tool were gone.
            let (old, new) = (Mortal(house.old, call), Mortal(house.new, call))
            let plan = try await house.plan()
            let run = UpgradeRun(from: old, to: new) { _ in }
            await #expect(throws: UpgradeRun.Failure.self) { try await run.perform(plan) }
            _ = try await house.upgrade()
            try await expect(house, before, isAt: house.new)
            #expect(try await everything(house).controllers.isEmpty)
        }
    }

    /// What an earlier run has moved stays where it is, and the failure names it.
    @Test func `undoes its own work only, and says so`() async throws {
        let count = try await House.callCount()
        var named = 0
        // Wherever the earlier run died.
        for call in 1...count {
            let house = try await House()
            let plan = try await house.plan()
            let run = UpgradeRun(
                from: Mortal(house.old, call), to: Mortal(house.new, call)
            ) { _ in }
            await #expect(throws: UpgradeRun.Failure.self) { try await run.perform(plan) }
            let next = try await house.plan()
            guard !next.moved.isEmpty, !next.moves.isEmpty else { continue }
            house.card.fail(call: 1)
            let failure = await #expect(throws: UpgradeRun.Failure.self) {
                try await house.run.perform(next)
            }
            for vuid in next.moved {
                #expect(
                    failure?.left.contains("function \(vuid), which an earlier run has moved")
                        == true)
                named += 1
            }
        }
        #expect(named > 0)
    }

    @Test func `plans nothing for nothing`() async throws {
        let house = try await House()
        _ = try await house.upgrade()
        #expect(try await house.plan().isEmpty)
        #expect(try await house.plan().text == "nothing to do")
    }

    // --- refusals ---

    private func refusal(_ house: House, _ source: FakeService, _ destination: FakeService)
        async
        throws -> String
    {
        let (from, to) = (
            try await ServicePicture.read(source), try await ServicePicture.read(destination)
        )
        do {
            _ = try UpgradePlan(from: from, to: to, .init())
            return "none"
        } catch { return error.description }
    }

    @Test func `refuses a service and itself`() async throws {
        let house = try await House()
        #expect(
            try await refusal(house, house.old, house.old)
                == "source and destination are the same service; give -s and -d different sockets")
    }

    @Test func `refuses services of two software DPUs`() async throws {
        let house = try await House()
        let other = FakeService("other", on: house.card, dpu: 2)
        #expect(
            try await refusal(house, house.old, other)
                == "the services have different software DPUs; functions move between services "
                + "of one, started with the same --dpu")
    }

    @Test func `refuses function memory that the destination does not read`() async throws {
        let house = try await House()
        house.new.state.withLock { $0.facts["virtio_memory_versions"] = [3, 2] }
        #expect(
            try await refusal(house, house.old, house.new)
                == "function memory: the source writes version 1 of virtio_memory_versions, and "
                + "the destination reads [3,2]; use a destination between")
    }

    /// By what the source says of itself, what it says of the function, and the destination.
    @Test(
        arguments: [
            ([1], nil, [2, 1], nil), ([2, 1], 1, [1], nil), ([1, 2], 2, [3, 2], nil),
            (
                [1], nil, [3, 2],
                "has layout version 1, and the destination speaks 3, 2; move it to a service that "
                    + "speaks both first, and reset the controller in its host there"
            ),
            (
                [2, 1], 2, [1],
                "has layout version 2, and the destination speaks 1; start the source with "
                    + "--function-memory-version 1 and reset the controller in its host, or use a "
                    + "newer destination"
            ),
        ] as [([UInt64], UInt64?, [UInt64], String?)])
    func `NVMe functions move to who speaks their layout`(
        source: [UInt64], found: UInt64?, destination: [UInt64], reason: String?
    ) async throws {
        let house = try await House()
        for (service, versions) in [(house.old, source), (house.new, destination)] {
            service.state.withLock {
                $0.facts["nvme_memory_versions"] = .array(versions.map { JSONValue($0) })
                $0.memoryVersion = found
            }
        }
        let text = try await refusal(house, house.old, house.new)
        #expect(
            text
                == (reason.map { "controller \"N\" on NVMES0D0F0: its function memory " + $0 }
                    ?? "none"))
    }

    @Test func `refuses another bdev of the same name`() async throws {
        let house = try await House()
        _ = try await house.new.call("bdev_aio_create", ["name": "F", "filename": "/other"])
        #expect(
            try await refusal(house, house.old, house.new)
                == "the destination has another object of this name: bdev_aio_create name=F "
                + "filename=/disk: filename is /other, not /disk; rename or destroy one of them")
    }

    /// Two calls of one name are two paths.
    @Test func `attaches remote controllers path by path, and detaches them so`() async throws {
        let house = try await House()
        for port in ["4420", "4421"] {
            _ = try await house.old.call(
                "bdev_nvme_attach_controller",
                [
                    "name": "R", "traddr": "192.0.2.7", "trsvcid": .string(port),
                    "subnqn": "nqn.2024-01.test:s1", "hostnqn": "nqn.2024-01.test:h",
                ])
        }
        _ = try await house.new.call(
            "bdev_nvme_attach_controller",
            [
                "name": "R", "traddr": "192.0.2.7", "trsvcid": "4421",
                "subnqn": "nqn.2024-01.test:s1", "hostnqn": "nqn.2024-01.test:h",
            ])
        let plan = try await house.plan()
        let attached = plan.objects.filter { $0.method == "bdev_nvme_attach_controller" }
        #expect(attached.map { $0.params["trsvcid"] } == ["4420"])
        let detached = plan.deletions.filter { $0.method == "bdev_nvme_detach_controller" }
        #expect(detached.map { $0.params["trsvcid"] } == ["4421", "4420"])
        let keys = ["name", "traddr", "trsvcid", "subnqn"]
        #expect(detached.allSatisfy { $0.params.keys == keys })
    }

    @Test func `refuses another controller of the same name`() async throws {
        let house = try await House()
        _ = try await house.new.call(
            "virtio_blk_controller_create", ["vuid": "VBLKS0D0F7", "ctrl_id": "P"])
        #expect(
            try await refusal(house, house.old, house.new)
                == "the destination has a controller \"P\" on VBLKS0D0F7, the source one on "
                + "VBLKS0D0F0; destroy one of them")
    }

    @Test func `refuses volatile bdevs unless they are allowed`() async throws {
        let house = try await House()
        _ = try await house.old.call("bdev_null_create", ["name": "Z"])
        #expect(
            try await refusal(house, house.old, house.new)
                == "bdev_null_create name=Z: what this bdev holds does not move with it; use "
                + "--allow-volatile when nobody needs it")
        var options = UpgradePlan.Options()
        options.allowsVolatile = true
        #expect(try await house.plan(options).objects.count == 5)
    }
}

/// A connection of a tool that dies before its n-th changing call, counted over both ends.
private struct Mortal: ServiceConnection {
    let service: FakeService
    let last: Int
    var name: String { service.name }

    init(_ service: FakeService, _ last: Int) {
        self.service = service
        self.last = last
    }

    func call(_ method: String, _ params: JSONObject?) async throws(UpgradeError) -> JSONValue {
        let isReading = ["_get", "_list"].contains { method.contains($0) }
        if !isReading, service.card.log.count + 1 >= last { throw UpgradeError("dead") }
        return try await service.call(method, params)
    }
}
