import Bdev
import Emulation
import Hardware
import Memory
import NVMeDriver
import NVMeHost
import Platform
import Seeds
import SoftDPU
import Testing

extension `NVMe functions` {
    /// What operators do to a controller that is at work.
    @Suite(.serialized) struct `NVMe controller under load` {
        private func delayed(_ stack: Stack, microseconds: UInt64) throws -> BlockDevice {
            let latencies = try DelayLatencies(
                averageRead: microseconds, slowRead: microseconds, averageWrite: microseconds,
                slowWrite: microseconds)
            return BlockDevice(
                name: "delay", backend: DelayBackend(try stack.ramDisk(), latencies))
        }

        // --- namespaces ---

        @Test(.timeLimit(.minutes(10)))
        func `tells its driver which namespaces come, go and grow`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let backend = NullBackend(BlockGeometry(blockByteCount: 512, blockCount: 2048))
            let null = BlockDevice(name: "null", backend: backend)
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            let guest = try await onThread { try NVMeGuest(controller.hostSocketPath) }
            for _ in 0..<5 {
                try await stack.nvme.add(null, 7, to: 0)
                try await onThread { () throws in
                    #expect(try guest.changedNamespaces() == [7])
                    #expect(try guest.driver.activeNamespaces() == [1, 7])
                    #expect(try guest.driver.identifyNamespace(7).blockCount == 2048)
                }
                backend.resize(toBlockCount: 4096)
                null.refreshGeometry()
                try await onThread { () throws in
                    #expect(try guest.changedNamespaces() == [7])
                    #expect(try guest.driver.identifyNamespace(7).blockCount == 4096)
                }
                backend.resize(toBlockCount: 2048)
                null.refreshGeometry()
                _ = try await onThread { try guest.changedNamespaces() }
                try await stack.nvme.detach(7, from: "n0")
                try await stack.nvme.destroyNamespace(7, of: NVMeSubsystems.nqn(0))
                try await onThread { () throws in
                    #expect(try guest.changedNamespaces() == [7])
                    #expect(try guest.driver.activeNamespaces() == [1])
                }
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `answers everything when a namespace is detached under load`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let controller = try await stack.nvme.make(
                0, [stack.ramDisk(), delayed(stack, microseconds: 300)])
            var options = NVMeGuest.Options()
            options.namespace = 2
            let second = options
            let guest = try await onThread { try NVMeGuest(controller.hostSocketPath, second) }
            let load = try Load {
                guest.submit(isWrite: true)
                try guest.collect(tolerating: 0x0B)
            }
            for _ in 0..<Effort.of(20) {
                #expect(await load.advance())
                try await stack.nvme.detach(2, from: "n0")
                #expect(await load.advance())
                try await stack.nvme.attach(2, to: "n0")
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            try await onThread { () throws in
                #expect(guest.toleratedCount > 0)
                try guest.verify()
            }
            await stack.stop()
        }

        // --- suspend and resume ---

        /// Known issue 4457230: repeated suspends lost commands.
        @Test(.timeLimit(.minutes(10)), arguments: [DoorbellMode.trapped, .mapped])
        func `bears a thousand suspends and resumes (4457230)`(mode: DoorbellMode) async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1, doorbells: mode))
            let controller = try await stack.nvme.make(0, [stack.ramDisk()])
            let guest = try await onThread { try NVMeGuest(controller.hostSocketPath) }
            let load = try Load { try guest.verify() }
            for turn in 0..<Effort.of(1000) {
                try await controller.suspend(within: .seconds(10), force: false)
                try await controller.resume()
                if turn % 100 == 0 { #expect(await load.advance()) }
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            await stack.stop()
        }

        /// Known issue 3817040: a suspend that timed out left the controller dead.
        @Test(.timeLimit(.minutes(10)))
        func `goes on serving when a suspend times out (3817040)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let backend = ErrorBackend(try stack.ramDisk())
            let controller = try await stack.nvme.make(
                0, [BlockDevice(name: "error", backend: backend), stack.ramDisk()])
            let guest = try await onThread {
                let guest = try NVMeGuest(controller.hostSocketPath)
                try guest.verify(rounds: 2)
                return guest
            }
            backend.inject(try ErrorInjection(.pending, count: 1), into: .write)
            try await onThread {
                guest.submit(isWrite: true)
                waitUntilHit(backend)
            }
            await #expect(throws: ControllerError.self) {
                try await controller.suspend(within: .milliseconds(50), force: false)
            }
            #expect(await controller.state == .running)
            try await onThread { () throws in
                // The admin queue and the other namespace answer as ever.
                #expect(try guest.driver.activeNamespaces() == [1, 2])
            }
            backend.clear()
            // The pending one fails, the others have been written.
            try? await onThread { try guest.collect() }
            try await onThread {
                try guest.start()
                try guest.verify(rounds: 2)
            }
            try await controller.suspend(within: .seconds(5), force: false)
            try await controller.resume()
            await stack.stop()
        }

        // --- services that come and go ---

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `is taken over by service after service (4403289)`(way: `NVMe function`.Way)
            async throws
        {
            let stack = try await Stack(
                nvme: Stack.NVMe(functionCount: 1, doorbells: way.mode))
            let disk = try stack.ramDisk()
            var service = stack.nvme
            let path = try await service.make(0, [disk]).hostSocketPath
            var options = NVMeGuest.Options()
            options.doorbells = way.kind
            options.usesInterrupts = way.usesInterrupts
            let chosen = options
            let guest = try await onThread { try NVMeGuest(path, chosen) }
            let load = try Load { try guest.verify() }
            for _ in 0..<Effort.of(20) {
                #expect(await load.advance())
                try await service.destroySubsystem(NVMeSubsystems.nqn(0), force: true)
                service = try await stack.service().nvme
                let successor = try await service.make(0, [disk], startsSuspended: true)
                try await successor.resume()
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            try await onThread { () throws in
                #expect(try guest.driver.activeNamespaces() == [1])
                try guest.driver.shutDown()
            }
            await service.closeAll()
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `tells its driver what changed while no service was there`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let path = try await stack.nvme.make(0, [stack.ramDisk()]).hostSocketPath
            let guest = try await onThread { try NVMeGuest(path) }
            try await stack.nvme.destroySubsystem(NVMeSubsystems.nqn(0), force: true)
            let service = try await stack.service().nvme
            let successor = try await service.make(
                0, [stack.ramDisk(byteCount: 2 * Stack.byteCount)], startsSuspended: true)
            try await successor.resume()
            try await onThread { () throws in
                #expect(try guest.changedNamespaces() == [1])
                try guest.verify()
            }
            await service.closeAll()
            await stack.stop()
        }
    }
}
