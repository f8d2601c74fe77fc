import Bdev
import Emulation
import Hardware
import Memory
import Platform
import Seeds
import SoftDPU
import Testing

/// A virtio-blk function that goes from one service to another while its guest works.
@Suite(.serialized) struct `Hand-over of a virtio-blk function` {
    /// A guest at work on function 0, which `first` drives.
    private func withLoad(
        _ options: Guest.Options = Guest.Options(),
        _ body: (Stack, BlockDevice, Stack.Service, Load) async throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        let first = try await stack.service(isMortal: true)
        let path = try await first.create("a", on: Stack.vuid(0), disk).hostSocketPath
        let load = try Load(try await onThread { try Guest(path, options) })
        #expect(await load.advance())
        try await body(stack, disk, first, load)
        #expect(await load.advance())
        #expect(try await load.stop() == nil)
        await stack.stop()
    }

    @Test(arguments: [Guest.Options(), Guest.Options(isPacked: true)])
    func `goes back and forth between listener and notifier`(options: Guest.Options) async throws {
        try await withLoad(options) { stack, disk, first, load in
            var source = (service: first, name: "a")
            var pauseCount = 0
            let turns = Effort.of(40, atLeast: 4)
            for turn in 0..<turns {
                let next = try await stack.service()
                let name = "b\(turn)"
                let listener = try await listen(next, name, disk)
                #expect(await listener.state == .standby)
                let old = try await source.service.controllers.find(source.name)
                if turn % 2 == 0 { try await old.suspendEvents() }
                try await old.handOver(within: .seconds(10), offeringFor: .zero)
                #expect(await old.state == .handedOver)
                #expect(await becomes(.running, listener))
                #expect(await load.advance())
                #expect(try await stack.listing(Stack.vuid(0))?.controller == name)
                let refusal = await #expect(throws: ControllerError.self) {
                    try await old.resume()
                }
                #expect(
                    refusal?.reason.contains("was handed over to controller \"\(name)\"") == true)
                try await source.service.controllers.destroy(source.name, force: turn % 2 == 1)
                #expect(try await stack.listing(Stack.vuid(0))?.controller == name)
                source = (next, name)
                pauseCount += pauses(of: next.controllers.pauses, .handover)
            }
            // Nearly every time its guest waited for an answer.
            #expect(pauseCount > turns / 2)
        }
    }

    @Test func `is offered first and taken by the listener that comes then`() async throws {
        try await withLoad { stack, disk, first, load in
            let old = try await first.controllers.find("a")
            try await old.suspendEvents()
            try await old.handOver(within: .milliseconds(200), offeringFor: .milliseconds(20))
            #expect(await old.state == .offered)
            #expect(await old.state.liveUpdate == "offered")
            let next = try await stack.service()
            let listener = try await listen(next, "b", disk)
            #expect(await becomes(.running, listener))
            #expect(await becomes(.handedOver, old))
            try await first.controllers.destroy("a")
            #expect(await load.advance())
        }
    }

    @Test func `is served on when nobody takes the offer`() async throws {
        try await withLoad { stack, disk, first, load in
            let old = try await first.controllers.find("a")
            try await old.handOver(within: .seconds(5), offeringFor: .zero)
            #expect(await becomes(.running, old))
            #expect(await stack.hasLogged("event=hand_over_abandoned controller=a"))
            #expect(await load.advance())
            // And resumed by its operator before that.
            try await old.handOver(within: .seconds(5), offeringFor: .zero)
            try await old.resume()
            #expect(await load.advance())
            // An offer that ended is none.
            let listener = try await listen(try await stack.service(), "b", disk)
            try await Task.sleep(for: .milliseconds(50))
            #expect(await listener.state == .standby)
        }
    }

    @Test func `has one listener at a time, of another service`() async throws {
        try await withLoad { stack, disk, first, load in
            let second = try await stack.service()
            let third = try await stack.service()
            var refusal = await #expect(throws: ControllerError.self) {
                try await listen(first, "x", disk)
            }
            #expect(refusal?.reason.contains("controller \"a\" of this same service") == true)
            let listener = try await listen(second, "b", disk)
            refusal = await #expect(throws: ControllerError.self) {
                try await listen(third, "c", disk)
            }
            #expect(refusal?.code == ErrorNumber.busy)
            #expect(refusal?.reason.contains("has listener \"b\" already") == true)
            refusal = await #expect(throws: ControllerError.self) { try await listener.resume() }
            #expect(refusal?.reason.contains("waits for the function") == true)
            try await second.controllers.destroy("b")
            _ = try await listen(third, "c", disk)
            #expect(await load.advance())
        }
    }

    @Test func `outlives a source that dies while a listener waits`() async throws {
        try await withLoad { stack, disk, first, load in
            let listener = try await listen(try await stack.service(), "b", disk)
            try await first.kill()
            #expect(await becomes(.running, listener))
            #expect(await load.advance())
            #expect(await stack.hasLogged("event=pause controller=b kind=recovery"))
        }
    }

    @Test func `passes on when its source is destroyed in order`() async throws {
        try await withLoad { stack, disk, first, load in
            let listener = try await listen(try await stack.service(), "b", disk)
            try await first.controllers.destroy("a", releasesVectors: true)
            #expect(await becomes(.running, listener))
        }
    }

    @Test func `stays when a listener dies, and can be listened to again`() async throws {
        try await withLoad { stack, disk, first, load in
            let second = try await stack.service(isMortal: true)
            _ = try await listen(second, "b", disk)
            try await second.kill()
            #expect(await stack.hasLogged("event=standby_ended"))
            #expect(await load.advance())
            let listener = try await listen(try await stack.service(), "c", disk)
            try await first.controllers.find("a").handOver(
                within: .seconds(5), offeringFor: .zero)
            #expect(await becomes(.running, listener))
        }
    }

    @Test func `is recovered when its new owner dies right after`() async throws {
        try await withLoad { stack, disk, first, load in
            let second = try await stack.service(isMortal: true)
            _ = try await listen(second, "b", disk)
            try await first.controllers.find("a").handOver(
                within: .seconds(5), offeringFor: .zero)
            try await second.kill()
            let third = try await stack.service()
            #expect(try await stack.becomesFree(Stack.vuid(0)))
            _ = try await third.create("c", on: Stack.vuid(0), disk)
        }
    }

    @Test func `is not waited for longer than a listener was told`() async throws {
        try await withLoad { stack, disk, first, load in
            let second = try await stack.service()
            let listener = try await listen(second, "b", disk, patience: .milliseconds(50))
            #expect(await becomes(.expired, listener))
            #expect(await listener.state.name == "STOPPED")
            #expect(await stack.hasLogged("event=listener_expired controller=b"))
            #expect(await load.advance())
            try await second.controllers.destroy("b")
            _ = try await listen(second, "b", disk)
        }
    }

    @Test func `is served on when the backend does not end in time (3817040)`() async throws {
        let stack = try await Stack(functionCount: 1)
        let backend = ErrorBackend(try stack.ramDisk())
        let disk = BlockDevice(name: "error", backend: backend)
        let old = try await stack.create(0, disk)
        let path = old.hostSocketPath
        let guest = try await onThread {
            let guest = try Guest(path)
            try guest.verify(rounds: 2)
            return guest
        }
        let listener = try await listen(try await stack.service(), "b", disk)
        backend.inject(try ErrorInjection(.pending, count: 1), into: .write)
        try await onThread {
            guest.submitWrites()
            waitUntilHit(backend)
        }
        let refusal = await #expect(throws: ControllerError.self) {
            try await old.handOver(within: .milliseconds(20), offeringFor: .milliseconds(20))
        }
        #expect(refusal?.code == ErrorNumber.timedOut)
        #expect(refusal?.reason.contains("goes on serving") == true)
        #expect(await old.state == .running)
        #expect(await listener.state == .standby)
        backend.clear()
        // The pending one fails, the others have been written.
        try? await onThread { try guest.collect() }
        try await onThread { Clock.sleep(nanoseconds: 50_000_000) }
        try await old.handOver(within: .seconds(5), offeringFor: .zero)
        #expect(await becomes(.running, listener))
        try await onThread { try guest.verify(rounds: 2) }
        await stack.stop()
    }

    @Test func `is not given to a listener whose bdev is gone`() async throws {
        try await withLoad { stack, disk, first, load in
            let registry = BdevRegistry()
            let device = BlockDevice(name: "late", backend: disk.backend)
            try registry.add(device)
            let service = try await stack.service()
            let listener = try await listen(service, "b", device)
            try await registry.remove("late")
            let old = try await first.controllers.find("a")
            var refusal: ControllerError?
            for _ in 0..<200 where refusal == nil {
                do {
                    try await Task.sleep(for: .milliseconds(5))
                    if await listener.bdevName != nil { continue }
                    try await old.handOver(within: .seconds(5), offeringFor: .zero)
                } catch let error as ControllerError { refusal = error }
            }
            #expect(refusal?.code == ErrorNumber.again)
            #expect(refusal?.reason.contains("its bdev \"late\" was deleted") == true)
            #expect(await old.state == .running)
            #expect(await load.advance())
            // Nor served without it when the source dies.
            try await first.kill()
            #expect(await becomes(.suspended(eventsOnly: false), listener))
            try await listener.attach(disk, serial: nil)
            try await listener.resume()
        }
    }

    @Test func `keeps its malloc bytes when its source deletes the bdev`() async throws {
        let stack = try await Stack(functionCount: 1)
        let (first, second) = (try await stack.service(), try await stack.service())
        let kept = try await first.manager.memoryFile("m", byteCount: 4096).identity()
        _ = try await second.manager.memoryFile("m", byteCount: 4096)
        try await first.manager.deleteMemoryFile("m")
        let third = try await stack.service(isMortal: true)
        #expect(try await third.manager.memoryFile("m", byteCount: 4096).identity() == kept)
        // A service that dies deletes nothing.
        try await second.manager.deleteMemoryFile("m")
        try await third.kill()
        #expect(try await first.manager.memoryFile("m", byteCount: 4096).identity() == kept)
        try await first.manager.deleteMemoryFile("m")
        // Another size: it is another file.
        _ = try await first.manager.memoryFile("m", byteCount: 8192)
        await stack.stop()
    }

    @Test func `is nobody's: a listener has it at once, suspended`() async throws {
        let stack = try await Stack(functionCount: 1)
        let disk = try stack.ramDisk()
        let path = try await stack.create(0, disk).hostSocketPath
        let guest = try await onThread { try Guest(path) }
        try await stack.controllers.destroy("c0")
        let service = try await stack.service()
        let listener = try await listen(service, "b", disk)
        #expect(await listener.state == .suspended(eventsOnly: false))
        try await listener.resume()
        try await onThread { try guest.verify(rounds: 2) }
        await stack.stop()
    }
}

/// Whether the controller comes to `state` in 5 s.
func becomes(_ state: ControllerState, _ controller: VirtioBlkController) async -> Bool {
    for _ in 0..<1000 {
        if await controller.state == state { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

func becomes(_ state: ControllerState, _ controller: NVMeController) async -> Bool {
    for _ in 0..<1000 {
        if await controller.state == state { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// Pauses of one kind, each of less than 10 s.
func pauses(of histograms: PauseHistograms, _ kind: PauseKind) -> Int {
    let reports = histograms.reports.filter { $0.kind == kind }
    for report in reports {
        #expect(report.medianMicroseconds > 0)
        #expect(report.maximumMicroseconds < 10_000_000)
        #expect(report.buckets.reduce(0) { $0 + $1.count } == report.count)
    }
    return reports.reduce(0) { $0 + $1.count }
}

/// A listener for function 0.
func listen(
    _ service: Stack.Service, _ name: String, _ disk: BlockDevice,
    patience: Duration = .seconds(60)
) async throws -> VirtioBlkController {
    try await service.create(name, on: Stack.vuid(0), disk, patience: patience)
}
