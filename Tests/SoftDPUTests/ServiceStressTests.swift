import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Testing
import VhostUser
import VirtioDriver

/// Controllers under load: what operators and drivers do again and again.
@Suite(.serialized) struct `Controller under load` {
    private func withLoad(
        _ options: Guest.Options = Guest.Options(),
        _ body: (BlockDevice, VirtioBlkController, Load) async throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let device = try stack.ramDisk()
        let controller = try await stack.create(0, device)
        let path = controller.hostSocketPath
        let load = try Load(try await onThread { try Guest(path, options) })
        try await body(device, controller, load)
        #expect(try await load.stop() == nil)
        await stack.stop()
    }

    @Test(arguments: [false, true])
    func `bears a thousand suspends and resumes`(isPacked: Bool) async throws {
        var options = Guest.Options()
        options.isPacked = isPacked
        try await withLoad(options) { _, controller, load in
            for turn in 0..<Effort.of(1000) {
                try await controller.suspend(within: .seconds(10))
                try await controller.resume()
                if turn % 100 == 0 { #expect(await load.advance()) }
            }
            #expect(await load.advance())
        }
    }

    @Test func `serialises requests that come at once`() async throws {
        try await withLoad { _, controller, load in
            await withTaskGroup(of: Void.self) { tasks in
                for index in 0..<200 {
                    tasks.addTask {
                        if index % 2 == 0 {
                            try? await controller.suspend(within: .seconds(5))
                        } else {
                            try? await controller.resume()
                        }
                    }
                }
            }
            if await controller.state != .running { try await controller.resume() }
            #expect(await load.advance())
        }
    }

    @Test func `loses its bdev and gets it back`() async throws {
        try await withLoad { device, controller, load in
            for _ in 0..<20 {
                // Without a bdev requests fail, so the guest must find it suspended.
                try await controller.suspend(within: .seconds(5))
                try await controller.detach()
                try await controller.attach(device, serial: nil)
                try await controller.resume()
                #expect(await load.advance())
            }
        }
    }

    // --- a backend that does not end ---

    private func stuck() async throws -> (Stack, ErrorBackend, VirtioBlkController, Guest) {
        let stack = try await Stack(functionCount: 1)
        let backend = ErrorBackend(try stack.ramDisk())
        let device = BlockDevice(name: "error", backend: backend)
        let controller = try await stack.create(0, device)
        let path = controller.hostSocketPath
        let guest = try await onThread {
            let guest = try Guest(path)
            try guest.verify(rounds: 2)
            return guest
        }
        backend.inject(try ErrorInjection(.pending, count: 1), into: .write)
        try await onThread {
            guest.submitWrites()
            waitUntilHit(backend)
        }
        return (stack, backend, controller, guest)
    }

    @Test func `goes on serving when a suspend times out`() async throws {
        let (stack, backend, controller, guest) = try await stuck()
        await #expect(throws: ControllerError.self) {
            try await controller.suspend(within: .milliseconds(50))
        }
        #expect(await controller.state == .running)
        backend.clear()
        // The pending one fails, the others have been written.
        try? await onThread { try guest.collect() }
        try await onThread { Clock.sleep(nanoseconds: 50_000_000) }
        try await controller.suspend(within: .seconds(5))
        try await controller.resume()
        await stack.stop()
    }

    @Test func `keeps its lease when it cannot be destroyed`() async throws {
        let (stack, backend, controller, guest) = try await stuck()
        let error = await #expect(throws: ControllerError.self) {
            try await controller.close(within: .milliseconds(50))
        }
        #expect(error?.code == ErrorNumber.busy)
        #expect(try await stack.manager.functions().first?.controller == "c0")
        backend.clear()
        try? await onThread { try guest.collect() }
        try await onThread { try guest.verify(rounds: 2) }
        try await stack.controllers.destroy("c0")
        #expect(try await stack.manager.functions().first?.controller == nil)
        await stack.stop()
    }

    // --- what drivers do ---

    private func repeatedly(
        _ count: Int, _ options: Guest.Options = Guest.Options(),
        _ body: @escaping @Sendable (Guest) throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, stack.ramDisk())
        let path = controller.hostSocketPath
        try await onThread {
            let guest = try Guest(path, options)
            for _ in 0..<Effort.of(count) { try body(guest) }
        }
        await stack.stop()
    }

    static let rings = [
        Guest.Options(), Guest.Options(isPacked: true),
        Guest.Options(isPacked: true, usesIndirect: true),
    ]

    @Test(arguments: rings)
    func `is reset under load`(options: Guest.Options) async throws {
        try await repeatedly(100, options) { guest in
            guest.submitWrites()
            try guest.frontEnd.setStatus(0)
            // Acknowledged: what the device may still write would spoil this.
            let used = guest.driver.deviceAddress - Guest.guestStart
            let area = guest.mapping.bytes.part(at: Int(used), byteCount: 512).segment
            area.fill(with: 0xC3)
            Clock.sleep(nanoseconds: 1_000_000)
            #expect(area.bytes().allSatisfy { $0 == 0xC3 })
            try guest.restart()
            try guest.verify(rounds: 1)
        }
    }

    @Test(arguments: rings)
    func `is stopped and started where it was`(options: Guest.Options) async throws {
        try await repeatedly(200, options) { guest in
            guest.submitWrites()
            let base = try guest.stop()
            try guest.start(base: base)
            try guest.collect()
            try guest.verify(rounds: 1)
        }
    }

    @Test(arguments: rings)
    func `has its memory table replaced under load`(options: Guest.Options) async throws {
        try await repeatedly(200, options) { guest in
            guest.submitWrites()
            try guest.frontEnd.setMemory([guest.region])
            try guest.collect()
            try guest.verify(rounds: 1)
        }
    }

    @Test(arguments: rings)
    func `has its ring disabled and enabled under load`(options: Guest.Options) async throws {
        try await repeatedly(200, options) { guest in
            guest.submitWrites()
            try guest.frontEnd.send(.setVringEnable, [0, 0, 0, 0, 0, 0, 0, 0])
            try guest.frontEnd.send(.setVringEnable, [0, 0, 0, 0, 1, 0, 0, 0])
            try guest.collect()
            try guest.verify(rounds: 1)
        }
    }

    @Test func `takes a thousand guests after each other`() async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, stack.ramDisk())
        let path = controller.hostSocketPath
        try await onThread {
            var refused = 0
            for turn in 0..<Effort.of(1000) {
                do {
                    let guest = try Guest(path)
                    // Some leave in the middle of it.
                    turn % 3 == 0 ? guest.submitWrites() : try guest.verify(rounds: 1)
                } catch let error as GuestError {
                    Issue.record("guest \(turn): \(error)")
                    print(stack.lines.all.suffix(5))
                    return
                } catch is VhostUserError {
                    // The last one's socket was still closing.
                    refused += 1
                    Clock.sleep(nanoseconds: 2_000_000)
                }
            }
            #expect(refused < 500)
        }
        await stack.stop()
    }

    @Test func `is added and removed again and again while its guest is there`() async throws {
        let stack = try await Stack(functionCount: 1)
        let device = try stack.ramDisk()
        let path = try await stack.create(0, device).hostSocketPath
        let guest = try await onThread { try Guest(path) }
        for _ in 0..<100 {
            try await stack.controllers.destroy("c0")
            try await onThread { guest.submitWrites() }
            _ = try await stack.create(0, device)
            try await onThread {
                try guest.collect()
                try guest.verify(rounds: 1)
            }
        }
        await stack.stop()
    }
}
