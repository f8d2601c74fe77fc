import Bdev
import Emulation
import Hardware
import NVMeDriver
import NVMeHost
import Platform
import Seeds
import SoftDPU
import Testing

extension `NVMe functions` {
    /// Many NVMe functions, and what happens around them: power, plugs, VFs, services that end.
    @Suite(.serialized) struct `NVMe card` {
        private static let isLong = ProcessFacts.environment("SOFTSNAP_SOAK") != nil

        /// Known issue 4642176: a PF stopped serving after repeated host power cycles.
        @Test(.timeLimit(.minutes(30)))
        func `serves after every power cycle of its host (4642176)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1), isEmbedded: false)
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            let path = controller.hostSocketPath
            for _ in 0..<(Self.isLong ? 1000 : Effort.of(20)) {
                let guest = try await onThread {
                    let guest = try NVMeGuest(path)
                    try guest.verify()
                    guest.submit(isWrite: true)
                    return guest
                }
                _ = try await stack.manager.perform(.powerOff)
                #expect(await (try? onThread { guest.isQuiet() }) == true)
                _ = try await stack.manager.perform(.powerOn)
            }
            await stack.stop()
        }

        /// Known issue 4196047: no vectors were left after plugs and unplugs.
        @Test(.timeLimit(.minutes(30)))
        func `has all its vectors after plugs and unplugs (4196047)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let disk = try stack.ramDisk()
            let before = try await stack.manager.functions()
            for round in 0..<(Self.isLong ? 10_000 : Effort.of(30)) {
                let made = try await stack.manager.createFunction(FunctionRequest(kind: .nvme))
                let controller = try await stack.nvme.make(1, [disk], on: made.vuid)
                try await stack.manager.plug(vuid: made.vuid)
                if round % 4 == 0 {
                    let path = controller.hostSocketPath
                    try await onThread {
                        let guest = try NVMeGuest(path)
                        try guest.verify()
                        guest.submit(isWrite: true)
                    }
                }
                try await stack.manager.unplug(vuid: made.vuid)
                while try await stack.listing(made.vuid)?.hotplugState != .powerOff {
                    try await Task.sleep(for: .milliseconds(1))
                }
                try await stack.nvme.destroySubsystem(NVMeSubsystems.nqn(1), force: true)
                try await stack.manager.destroyFunction(vuid: made.vuid, force: false)
            }
            #expect(try await stack.manager.functions() == before)
            await stack.stop()
        }

        /// Known issue 4244085: a VF's controller was deleted while the host unbound its driver.
        @Test(.timeLimit(.minutes(30)))
        func `loses VF controllers while the host unbinds (4244085)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1, vfCount: 1))
            let disk = try stack.ramDisk()
            _ = try await stack.nvme.make(0, [])
            let pf = NVMeSubsystems.vuid(0)
            _ = try await stack.manager.perform(.sriov(vuid: pf, count: 1, autoprobe: true))
            var random = Seed.sample(1)[0]
            print("unbind: \(random)")
            for _ in 0..<(Self.isLong ? 2000 : Effort.of(40)) {
                let controller = try await stack.nvme.make(1, [disk], on: pf + "VF1", queueCount: 4)
                let path = controller.hostSocketPath
                let (first, second) = (random.pick(0...3000), random.pick(0...3000))
                let guest = try await onThread {
                    // The task below may hold the last one for some microseconds more.
                    let guest = try NVMeGuest.takingOver(path)
                    guest.submit(isWrite: true)
                    return guest
                }
                let unbind = Task.detached {
                    try? await Task.sleep(for: .microseconds(first))
                    // The controller may be gone in the middle of it: then it waits, and gives up.
                    _ = try? await onThread { try guest.driver.disable() }
                }
                try await Task.sleep(for: .microseconds(second))
                try await stack.nvme.destroySubsystem(NVMeSubsystems.nqn(1), force: true)
                await unbind.value
            }
            let controller = try await stack.nvme.make(1, [disk], on: pf + "VF1", queueCount: 4)
            try await onThread { try NVMeGuest.takingOver(controller.hostSocketPath).verify() }
            await stack.stop()
        }

        /// Known issue 4503883: a destroy stalled in a backend that did not end its requests.
        @Test(.timeLimit(.minutes(10)))
        func `keeps its lease when it cannot be destroyed in time (4503883)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let backend = ErrorBackend(try stack.ramDisk())
            let controller = try await stack.nvme.make(
                0, [BlockDevice(name: "error", backend: backend)])
            let guest = try await onThread { try NVMeGuest(controller.hostSocketPath) }
            backend.inject(try ErrorInjection(.pending, count: 1), into: .write)
            try await onThread {
                guest.submit(isWrite: true)
                waitUntilHit(backend)
            }
            let start = ContinuousClock.now
            await #expect(throws: ControllerError.self) {
                try await stack.nvme.destroyController("n0", force: true)
            }
            #expect(ContinuousClock.now - start < .seconds(15))
            #expect(await controller.state == .running)
            #expect(try await stack.listing(NVMeSubsystems.vuid(0))?.controller == "n0")
            backend.clear()
            try? await onThread { try guest.collect() }
            try await stack.nvme.destroyController("n0", force: true)
            #expect(try await stack.listing(NVMeSubsystems.vuid(0))?.controller == nil)
            await stack.stop()
        }

        /// Known issue 3689918: with many functions a start took longer than a driver waits.
        @Test(.timeLimit(.minutes(10)))
        func `is back with 128 functions before a driver gives up (3689918)`() async throws {
            let count = Effort.of(128)
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: count))
            let disk = try stack.ramDisk(byteCount: count << 20)
            var service = stack.nvme
            var paths: [String] = []
            for index in 0..<count {
                let vuid = "SOFTSNAP0001NVMES0D\(index / 8)F\(index % 8)"
                paths.append(
                    try await service.make(index, [disk], on: vuid, queueCount: 2).hostSocketPath)
            }
            let all = paths
            let guests = try await onThread {
                try all.enumerated().map { index, path in
                    var options = NVMeGuest.Options()
                    options.firstBlock = UInt64(index) << 11
                    options.memoryByteCount = 1 << 20
                    return try NVMeGuest(path, options)
                }
            }
            try await onThread { for guest in guests { guest.submit(isWrite: true) } }
            await service.closeAll()
            let start = ContinuousClock.now
            service = try await stack.service().nvme
            for index in 0..<count {
                let vuid = "SOFTSNAP0001NVMES0D\(index / 8)F\(index % 8)"
                let controller = try await service.make(
                    index, [disk], on: vuid, queueCount: 2, startsSuspended: true)
                try await controller.resume()
            }
            try await onThread {
                for guest in guests {
                    try guest.collect()
                    try guest.verifyWritten()
                }
            }
            let time = ContinuousClock.now - start
            print("back with \(count) controllers in \(time)")
            #expect(time < .seconds(30))
            await service.closeAll()
            await stack.stop()
        }
    }
}
