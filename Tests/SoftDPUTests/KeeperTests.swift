import Emulation
import Hardware
import Keeper
import Logging
import Memory
import Platform
import Reactor
import SoftDPU
import Testing
import VhostUser

/// A software DPU that is killed and started again, in one process.
@Suite(.serialized) struct `Kept software DPU` {
    /// A service with one virtio-blk controller, as the body sees it.
    func withService(
        _ body: (KeptStack, VirtioBlkController) async throws -> Void
    ) async throws {
        let stack = try KeptStack()
        try stack.start()
        let group = try PathUnderTest.reactors()
        let place = DPUPlace.socket(stack.controlPath)
        let manager = try await RemoteManager(
            try await place.connect(), dataPath: PathUnderTest.path, reconnectingTo: place,
            log: stack.log
        ) { _ in }
        try await PathUnderTest.open(group, to: manager)
        let controllers = VirtioBlkControllers(manager: manager, group: group, log: stack.log)
        let file = try MemoryFile.create(name: "disk", byteCount: UInt64(Stack.byteCount))
        let device = try Stack.ramDisk(file)
        let controller = try await controllers.create(
            Stack.options("c", Stack.vuid(0), device), device: device)
        try await body(stack, controller)
        await controllers.closeAll()
        group.stop()
        stack.stop()
    }

    @Test(arguments: [false, true])
    func `loses no request of a guest`(isPacked: Bool) async throws {
        try await withService { stack, controller in
            var options = Guest.Options()
            options.isPacked = isPacked
            let path = controller.hostSocketPath
            let guest = try await onThread { [options] in try Guest(path, options) }
            let load = try Load(guest)
            for _ in 0..<5 {
                #expect(await load.advance())
                stack.crash()
                try stack.start()
            }
            #expect(await load.advance())
            #expect(try await load.stop() == nil)
            // And it still answers its front end.
            _ = try await onThread { try guest.stop() }
            #expect(!stack.lines.all.contains { $0.contains("event=host_disconnected") })
        }
    }

    @Test func `answers what was asked while it was away`() async throws {
        try await withService { stack, controller in
            let path = controller.hostSocketPath
            let guest = try await onThread { try Guest(path) }
            for _ in 0..<3 {
                stack.crash()
                let answer = Task { try await onThread { try guest.status() } }
                try await Task.sleep(for: .milliseconds(50))
                try stack.start()
                _ = try await answer.value
            }
            // A queue that stops waits for the service, whichever process it was asked of.
            stack.crash()
            let stopped = Task { try await onThread { try guest.stop() } }
            try await Task.sleep(for: .milliseconds(50))
            try stack.start()
            _ = try await stopped.value
            _ = try await onThread {
                try guest.restart()
                try guest.verify(rounds: 3)
            }
        }
    }

    @Test func `takes a message that comes in pieces`() async throws {
        try await withService { stack, controller in
            let socket = SharedDescriptor(
                try UnixSocket.connect(to: controller.hostSocketPath, .stream))
            let question = VhostUserMessage(.getFeatures).encoded()
            for cut in [1, 5, 11] {
                _ = try UnixSocket.send(question[..<cut], to: socket.number)
                try await Task.sleep(for: .milliseconds(20))
                stack.crash()
                try stack.start()
                _ = try UnixSocket.send(question[cut...], to: socket.number)
                let isThere = try await onThread {
                    UnixSocket.waitReadable(socket.number, milliseconds: 10_000)
                }
                #expect(isThere)
                let answer = try UnixSocket.receive(upTo: 1000, from: socket.number)
                #expect(answer?.bytes.count == 20)
            }
        }
    }

    @Test func `keeps a lease for a service that may still be at work`() async throws {
        let stack = try KeptStack()
        try stack.start()
        let offer = VirtioOffer(
            controller: "first", features: 1 << 32, configuration: Array(repeating: 0, count: 60),
            queueCount: 1, queueSize: 64)
        // One that does not come back by itself.
        var first: RemoteManager? = try await RemoteManager(
            try RemoteManager.connect(to: stack.controlPath)
        ) { _ in }
        _ = try await first?.open(vuid: Stack.vuid(0), offer: offer)
        stack.crash()
        try stack.start()
        let second = try await RemoteManager(
            try RemoteManager.connect(to: stack.controlPath)
        ) { _ in }
        let error = await #expect(throws: HardwareError.self) {
            try await second.open(vuid: Stack.vuid(0), offer: offer)
        }
        #expect(error?.code == ErrorNumber.busy)
        #expect(error?.reason.contains("has yet to connect again") == true)
        // It ends, which its lifeline tells.
        first = nil
        var port: (any VirtioFunctionPort)?
        for _ in 0..<200 where port == nil {
            port = try? await second.open(vuid: Stack.vuid(0), offer: offer)
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(port?.predecessors.count == 1)
        stack.stop()
    }

    @Test func `keeps a function whose record it cannot read`() async throws {
        try await withService { stack, controller in
            let path = controller.hostSocketPath
            let guest = try await onThread { try Guest(path) }
            stack.crash()
            // Records are memory files of one size; the function's is the later one.
            let kept = try KeeperLink(path: stack.keeperPath).list()
            let size = kept[1]?.sharedMemoryByteCount
            let records = kept.filter { $0.key != 1 && $0.value.sharedMemoryByteCount == size }
            let record = try #require(records.values.first)
            let mapping = try Mapping(record.number, byteCount: 4096)
            let latest = mapping.bytes.load(UInt64.self, at: 16)
            mapping.bytes.store(latest + 2, at: 16)
            try stack.start()
            #expect(await stack.hasLogged("event=record_refused"))
            #expect(await stack.hasLogged("event=controller_lost"))
            // The next process can read it: nothing was thrown away.
            stack.crash()
            mapping.bytes.store(latest, at: 16)
            try stack.start()
            #expect(await stack.hasLogged("event=restored functions=1 refused=0"))
            _ = try await onThread { try guest.status() }
        }
    }
}

extension KeptStack {
    func hasLogged(_ text: String) async -> Bool {
        for _ in 0..<500 {
            if lines.all.contains(where: { $0.contains(text) }) { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}
