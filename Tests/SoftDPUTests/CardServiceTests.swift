import Bdev
import Emulation
import Hardware
import Logging
import Memory
import Platform
import Seeds
import SoftDPU
import Testing
import VirtioDriver

/// Expects that `body` is refused with `code`.
private func expectRefusal(
    _ code: Int32, at location: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("was not refused", sourceLocation: location)
    } catch let error as HardwareError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
    } catch let error as ControllerError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
    } catch { Issue.record("\(error)", sourceLocation: location) }
}

@Suite(.serialized) struct `A served card` {
    /// What a call that names a PF asks for: the rest of a large card is not sent.
    @Test(.timeLimit(.minutes(10)))
    func `lists the functions of one PF, as among all`() async throws {
        let stack = try await Stack(nvme: Stack.NVMe(functionCount: 2, vfCount: 3))
        let all = try await stack.manager.functions()
        #expect(Set(all.map(\.identity.pfIndex)).count > 1)
        for index in 0...all.count {
            let wanted = all.filter { $0.identity.pfIndex == index }
            #expect(try await stack.manager.functions(ofPF: index) == wanted)
        }
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `ends in order when nobody keeps it`() async throws {
        let directory = "/var/tmp/softsnap-dpu-\(ProcessFacts.identifier)-\(UUID.random())"
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var dpu: SoftDPU? = try SoftDPU(Inventory(runDirectory: directory), log: log)
        let socket = try #require(try dpu?.connect())
        let (ends, told) = AsyncStream<String>.makeStream()
        let manager = try await RemoteManager(socket) { told.yield($0) }
        #expect(try await manager.functions().count > 0)
        dpu = nil
        for await reason in ends {
            #expect(reason.contains("closed"))
            break
        }
        for part in ["/host", "/control", "/lock", ""] {
            try? FileSystem.remove(directory + part)
        }
    }

    /// A destination that gave up deleted the bytes of a source that had died meanwhile.
    @Test(.timeLimit(.minutes(10)))
    func `keeps the memory of a service that died, whoever else deletes it`() async throws {
        let stack = try await Stack(functionCount: 1)
        func service(_ name: String) async throws -> (RemoteManager, SharedDescriptor) {
            let socket = try stack.dpu.connect()
            return (try await RemoteManager(socket, service: name) { _ in }, socket)
        }
        let (old, socket) = try await service("old")
        let bytes = try await old.memoryFile("M", byteCount: 4096).identity()
        UnixSocket.shutDown(socket.number)
        let (new, _) = try await service("new")
        #expect(try await new.memoryFile("M", byteCount: 4096).identity() == bytes)
        try await new.deleteMemoryFile("M")
        let (again, _) = try await service("old")
        #expect(try await again.memoryFile("M", byteCount: 4096).identity() == bytes)
        try await again.deleteMemoryFile("M")
        #expect(try await again.memoryFile("M", byteCount: 4096).identity() != bytes)
        await stack.stop()
    }

    private let pf = Stack.vuid(0)
    private var vf: String { pf + "VF1" }

    @Test(.timeLimit(.minutes(10)))
    func `gives a VF to a virtual machine once the host has enabled it`() async throws {
        let stack = try await Stack(functionCount: 1, vfCount: 4)
        await expectRefusal(ErrorNumber.invalid) { _ = try await stack.create("v", on: vf, nil) }
        _ = try await stack.create("p", on: pf, nil)
        let controller = try await stack.create("v", on: vf, stack.ramDisk())
        let path = controller.hostSocketPath
        await #expect(throws: (any Error).self) { try await onThread { _ = try Guest(path) } }
        _ = try await stack.manager.perform(.sriov(vuid: pf, count: 2, autoprobe: false))
        #expect(try await stack.listing(vf)?.identity.bdf == "28:00.0")
        try await onThread { try Guest(path).verify(rounds: 3) }
        await expectRefusal(ErrorNumber.busy) { try await stack.controllers.destroy("p") }
        await expectRefusal(ErrorNumber.busy) { try await stack.controllers.destroy("v") }
        try await stack.controllers.destroy("v", force: true, releasesVectors: true)
        #expect(try await stack.listing(vf)?.identity.vectorCount == 0)
        #expect(try await stack.listing(pf)?.freeVectorCount == 8)
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `keeps vectors over controllers and takes them back on demand`() async throws {
        let stack = try await Stack(functionCount: 1, vfCount: 4)
        _ = try await stack.create("p", on: pf, nil)
        try await stack.manager.reclaimVectors(vuid: pf)
        #expect(try await stack.listing(pf)?.freeVectorCount == 32)
        await expectRefusal(ErrorNumber.noSpace) { _ = try await stack.create("v", on: vf, nil) }
        try await stack.manager.setVectors(vuid: vf, count: 4)
        _ = try await stack.create("v", on: vf, nil)
        await expectRefusal(ErrorNumber.busy) { try await stack.manager.reclaimVectors(vuid: pf) }
        try await stack.controllers.destroy("v")
        #expect(try await stack.listing(vf)?.identity.vectorCount == 4)
        #expect(try await stack.listing(pf)?.freeVectorCount == 28)
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `plugs a function and unplugs it when its machine lets go`() async throws {
        let stack = try await Stack(functionCount: 1)
        let made = try await stack.manager.createFunction(FunctionRequest(kind: .virtioBlk))
        await expectRefusal(ErrorNumber.invalid) { try await stack.manager.plug(vuid: made.vuid) }
        let controller = try await stack.create("h", on: made.vuid, stack.ramDisk())
        let path = controller.hostSocketPath
        await #expect(throws: (any Error).self) { try await onThread { _ = try Guest(path) } }
        try await stack.manager.plug(vuid: made.vuid)
        #expect(try await stack.listing(made.vuid)?.hotplugState == .powerOn)
        var guest: Guest? = try await onThread { try Guest(path) }
        let load = try Load(try #require(guest))
        #expect(await load.advance())
        try await stack.manager.unplug(vuid: made.vuid)
        #expect(try await stack.listing(made.vuid)?.hotplugState == .unplugging)
        #expect(await load.advance())
        #expect(try await load.stop() == nil)
        guest = nil
        _ = guest
        for _ in 0..<500 where try await stack.listing(made.vuid)?.hotplugState != .powerOff {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(try await stack.listing(made.vuid)?.hotplugState == .powerOff)
        try await stack.controllers.destroy("h")
        try await stack.manager.destroyFunction(vuid: made.vuid, force: false)
        #expect(try await stack.listing(made.vuid) == nil)
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `writes no byte into a host without power`() async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, stack.ramDisk())
        let path = controller.hostSocketPath
        // Each load ends when it has waited so long: more patience where everything is slow.
        let rounds = Effort.of(10, atLeast: 2)
        for _ in 0..<rounds {
            let guest = try await onThread { try Guest(path) }
            let load = try Load(guest, seconds: UInt64(10 / rounds))
            #expect(await load.advance())
            await expectRefusal(ErrorNumber.busy) {
                _ = try await stack.manager.perform(.reset(vuid: pf))
            }
            _ = try await stack.manager.perform(.powerOff)
            // The load may still write; what the device would is in the used ring and the data.
            let memory = guest.mapping.bytes
            let used = Int(guest.driver.deviceAddress - Guest.guestStart)
            let before = memory.load(UInt32.self, at: used)
            try await Task.sleep(for: .milliseconds(20))
            #expect(memory.load(UInt32.self, at: used) == before)
            _ = try await load.stop()
            await #expect(throws: (any Error).self) { try await onThread { _ = try Guest(path) } }
            _ = try await stack.manager.perform(.powerOn)
        }
        try await onThread { try Guest(path).verify(rounds: 1) }
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `resets a function that no machine has`() async throws {
        let stack = try await Stack(functionCount: 1)
        let controller = try await stack.create(0, stack.ramDisk())
        for _ in 0..<100 { _ = try await stack.manager.perform(.reset(vuid: pf)) }
        try await onThread { try Guest(controller.hostSocketPath).verify(rounds: 1) }
        await expectRefusal(ErrorNumber.noDevice) {
            _ = try await stack.manager.perform(.reset(vuid: "NOPE"))
        }
        await stack.stop()
    }

    @Test(.timeLimit(.minutes(10)))
    func `is not power-cycled inside its service`() async throws {
        let stack = try await Stack(functionCount: 1)
        await expectRefusal(ErrorNumber.notSupported) { try await stack.manager.powerCycle() }
        await stack.stop()
    }
}
