import Bdev
import CWire
import Emulation
import Hardware
import Memory
import NVMe
import NVMeDriver
import NVMeHost
import Platform
import Seeds
import SoftDPU
import Testing

extension `NVMe functions` {
    /// An NVMe function that goes from one service to another while its driver works.
    @Suite(.serialized) struct `Hand-over of an NVMe function` {
        /// A guest at work on function 0, which `first` drives.
        private func withLoad(
            _ way: `NVMe function`.Way = `NVMe function`.ways[0], isMortal: Bool = false,
            _ body: (Stack, BlockDevice, Stack.Service, NVMeGuest, Load) async throws -> Void
        ) async throws {
            let stack = try await Stack(
                nvme: Stack.NVMe(functionCount: 1, doorbells: way.mode))
            let disk = try stack.ramDisk()
            let first = try await stack.service(isMortal: isMortal)
            let path = try await first.nvme.make(0, [disk]).hostSocketPath
            var options = NVMeGuest.Options()
            options.doorbells = way.kind
            options.usesInterrupts = way.usesInterrupts
            let chosen = options
            let guest = try await onThread { try NVMeGuest(path, chosen) }
            let load = try Load { try guest.verify() }
            #expect(await load.advance())
            try await body(stack, disk, first, guest, load)
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            try await onThread { () throws in
                #expect(try guest.driver.activeNamespaces() == [1])
                try guest.driver.shutDown()
            }
            await stack.stop()
        }

        private func listen(
            _ service: Stack.Service, _ disks: [BlockDevice],
            patience: Duration = .seconds(60)
        ) async throws -> NVMeController {
            try await service.nvme.make(0, disks, patience: patience)
        }

        @Test(.timeLimit(.minutes(10)), arguments: `NVMe function`.ways)
        func `goes back and forth between listener and notifier`(way: `NVMe function`.Way)
            async throws
        {
            try await withLoad(way) { stack, disk, first, guest, load in
                var source = first
                var pauseCount = 0
                let turns = Effort.of(20, atLeast: 4)
                for turn in 0..<turns {
                    let next = try await stack.service()
                    let old = try await source.nvme.find("n0")
                    if turn % 2 == 0 { try await old.suspendAdmin() }
                    let listener = try await listen(next, [disk])
                    #expect(await listener.state == .standby)
                    try await old.handOver(within: .seconds(10), force: false)
                    #expect(await old.state == .handedOver)
                    #expect(await becomes(.running, listener))
                    #expect(await load.advance())
                    let refusal = await #expect(throws: ControllerError.self) {
                        try await old.resume()
                    }
                    #expect(refusal?.reason.contains("was handed over to controller") == true)
                    try await source.nvme.destroySubsystem(NVMeSubsystems.nqn(0), force: true)
                    #expect(try await stack.listing(NVMeSubsystems.vuid(0))?.controller == "n0")
                    source = next
                    pauseCount += pauses(of: next.nvme.pauses, .handover)
                }
                #expect(pauseCount > turns / 2)
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `is served on when nobody listens`() async throws {
            try await withLoad { stack, disk, first, guest, load in
                let controller = try await first.nvme.find("n0")
                for turn in 0..<2 {
                    let refusal = await #expect(throws: ControllerError.self) {
                        try await controller.handOver(within: .seconds(5), force: false)
                    }
                    #expect(refusal?.code == ErrorNumber.noDevice)
                    #expect(refusal?.reason.contains("no listener waits") == true)
                    #expect(await load.advance())
                    if turn == 0 { try await controller.suspendAdmin() }
                }
                try await controller.resume()
                #expect(await controller.state == .running)
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `is served on when the backend does not end in time (3817040)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let backend = ErrorBackend(try stack.ramDisk())
            let disk = BlockDevice(name: "error", backend: backend)
            let controller = try await stack.nvme.make(0, [disk])
            let guest = try await onThread {
                let guest = try NVMeGuest(controller.hostSocketPath)
                try guest.verify(rounds: 2)
                return guest
            }
            let listener = try await listen(try await stack.service(), [disk])
            backend.inject(try ErrorInjection(.pending, count: 1), into: .write)
            try await onThread {
                guest.submit(isWrite: true)
                waitUntilHit(backend)
            }
            let refusal = await #expect(throws: ControllerError.self) {
                try await controller.handOver(within: .milliseconds(50), force: false)
            }
            #expect(refusal?.code == ErrorNumber.timedOut)
            #expect(refusal?.reason.contains("goes on serving") == true)
            #expect(await controller.state == .running)
            #expect(await listener.state == .standby)
            try await onThread { () throws in
                #expect(try guest.driver.activeNamespaces() == [1])
            }
            backend.clear()
            try? await onThread { try guest.collect() }
            try await onThread {
                try guest.start()
                try guest.verify(rounds: 2)
            }
            try await controller.handOver(within: .seconds(5), force: false)
            #expect(await becomes(.running, listener))
            try await onThread { try guest.verify(rounds: 2) }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `outlives a source that dies while a listener waits`() async throws {
            try await withLoad(isMortal: true) { stack, disk, first, guest, load in
                let listener = try await listen(try await stack.service(), [disk])
                try await first.kill()
                #expect(await becomes(.running, listener))
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `is recovered when its new owner dies right after`() async throws {
            try await withLoad { stack, disk, first, guest, load in
                let second = try await stack.service(isMortal: true)
                _ = try await listen(second, [disk])
                try await first.nvme.find("n0").handOver(within: .seconds(5), force: false)
                try await second.kill()
                let vuid = NVMeSubsystems.vuid(0)
                #expect(try await stack.becomesFree(vuid))
                let third = try await stack.service().nvme
                try await third.make(0, [disk], startsSuspended: true).resume()
            }
        }

        /// Each step of an enable may fall before a hand-over or after it.
        @Test(.timeLimit(.minutes(10)))
        func `finds what a driver has written before it enables`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let disk = try stack.ramDisk()
            var source = try await stack.service(isMortal: true)
            let path = try await source.nvme.make(0, [disk]).hostSocketPath
            let guest = try await onThread { try NVMeGuest(path) }
            let written: [(register: Int, value: UInt64, byteCount: Int)] = [
                (NVME_REGISTER_AQA, 0x001F_001F, 4), (NVME_REGISTER_ASQ, 0x1_2000, 8),
                (NVME_REGISTER_ACQ, 0x1_3000, 8), (NVME_REGISTER_INTMS, 2, 4),
            ]
            for dies in [false, true] {
                try await onThread {
                    try guest.driver.disable()
                    for (register, value, byteCount) in written {
                        try guest.access.writeRegister(value, at: register, byteCount: byteCount)
                    }
                }
                let next = try await stack.service(isMortal: true)
                let listener = try await listen(next, [disk])
                if dies {
                    try await source.kill()
                } else {
                    try await source.nvme.find("n0").handOver(within: .seconds(5), force: false)
                }
                #expect(await becomes(.running, listener))
                try await onThread {
                    for (register, value, byteCount) in written {
                        let found = try guest.access.readRegister(
                            at: register, byteCount: byteCount)
                        #expect(found == value, "register \(register)")
                    }
                    try guest.start()
                    try guest.verify()
                }
                source = next
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `keeps event requests armed`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let disk = try stack.ramDisk()
            var source = try await stack.service()
            let path = try await source.nvme.make(0, [disk]).hostSocketPath
            let guest = try await onThread { try NVMeGuest(path) }
            for _ in 0..<Effort.of(5) {
                let next = try await stack.service()
                let listener = try await listen(next, [disk])
                try await source.nvme.find("n0").handOver(within: .seconds(5), force: false)
                #expect(await becomes(.running, listener))
                try await next.nvme.add(stack.ramDisk(), 5, to: 0)
                try await onThread { () throws in
                    #expect(try guest.changedNamespaces() == [5])
                }
                try await next.nvme.detach(5, from: "n0")
                try await onThread { () throws in
                    #expect(try guest.changedNamespaces() == [5])
                    try guest.verify()
                }
                try await source.nvme.destroySubsystem(NVMeSubsystems.nqn(0), force: true)
                source = next
            }
            await stack.stop()
        }

        @Test(.timeLimit(.minutes(10)))
        func `waits for namespaces that its driver knows`() async throws {
            try await withLoad(isMortal: true) { stack, disk, first, guest, load in
                let second = try await stack.service()
                let listener = try await listen(second, [])
                let refusal = await #expect(throws: ControllerError.self) {
                    try await first.nvme.find("n0").handOver(within: .seconds(5), force: false)
                }
                #expect(refusal?.reason.contains("namespaces 1 are not attached") == true)
                #expect(await load.advance())
                try await first.kill()
                #expect(await stack.hasLogged("event=takeover_waits controller=n0"))
                #expect(await becomes(.suspended(eventsOnly: false), listener))
                try await second.nvme.add(disk, 1, to: 0)
                try await listener.resume()
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `stays where it is until a listener has looked at it`() async throws {
            try await withLoad { stack, _, first, _, load in
                let holder = try await first.nvme.find("n0")
                let queueCount = holder.options.queueCount
                var offer = NVMeOffer(
                    controller: "blind", queueCount: queueCount,
                    queueSize: holder.options.queueSize,
                    memoryByteCount: NVMeMemory.byteCount(queueCount: queueCount + 1))
                offer.standsBy = true
                let second = try await stack.service()
                let port = try await second.manager.open(vuid: holder.identity.vuid, offer: offer)
                let refusal = await #expect(throws: ControllerError.self) {
                    try await holder.handOver(within: .seconds(5), force: false)
                }
                #expect(refusal?.reason.contains("\"blind\"") == true)
                #expect(refusal?.reason.contains("yet to look at the function") == true)
                #expect(await holder.state == .running)
                #expect(await load.advance())
                await port.close(releasesVectors: false)
            }
        }

        @Test(.timeLimit(.minutes(10)))
        func `is reset by its driver between the phases (4487171)`() async throws {
            let stack = try await Stack(nvme: Stack.NVMe(functionCount: 1))
            let disk = try stack.ramDisk()
            let first = try await stack.service()
            let path = try await first.nvme.make(0, [disk]).hostSocketPath
            let guest = try await onThread { try NVMeGuest(path) }
            var source = first
            for turn in 0..<Effort.of(10) {
                let next = try await stack.service()
                let listener = try await listen(next, [disk])
                let old = try await source.nvme.find("n0")
                try await old.suspendAdmin()
                let reset = Task {
                    try await onThread {
                        Clock.sleep(nanoseconds: UInt64(turn) * 100_000)
                        // The admin queue may be held back: enabling waits for the new owner.
                        try guest.start()
                        try guest.verify(rounds: 2)
                    }
                }
                try await Task.sleep(for: .microseconds(500))
                try await old.handOver(within: .seconds(5), force: false)
                #expect(await becomes(.running, listener))
                try await reset.value
                try await source.nvme.destroySubsystem(NVMeSubsystems.nqn(0), force: true)
                source = next
            }
            await stack.stop()
        }
    }
}
