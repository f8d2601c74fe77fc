import CWire
import Hardware
import Memory
import Platform
import Testing
import VFIOUser

/// A machine behind a socket, whose service acknowledges everything at once.
private final class Server: @unchecked Sendable {
    // Sendable: `machine` belongs to the thread until `stop` has joined it.
    private(set) var machine: Machine
    private let socket: SharedDescriptor
    private var thread: Thread?

    init(_ socket: SharedDescriptor) throws {
        self.socket = socket
        machine = try Machine(negotiated: false)
        thread = try Thread(name: "server") { [self] in serve() }
    }

    func stop() { thread?.join() }

    private func serve() {
        var stream = VFIOUserStream(socket: socket.number)
        let device = machine.device
        do {
            while true {
                switch try stream.next() {
                case .closed: return
                case .incomplete:
                    guard UnixSocket.waitReadable(socket.number, milliseconds: 10_000) else {
                        return
                    }
                case .message(let message):
                    switch try machine.session.handle(message, device: device) {
                    case .nothing: break
                    case .reply(let reply): try send(reply)
                    case .wait(let pending): if let reply = pending.reply { try send(reply) }
                    }
                }
            }
        } catch { Issue.record("the server stopped: \(error)") }
    }

    private func send(_ reply: VFIOUserMessage) throws {
        let bytes = reply.encoded()
        var sent = 0
        while sent < bytes.count {
            let files = sent == 0 ? reply.descriptors.map(\.number) : []
            sent += try UnixSocket.send(bytes[sent...], descriptors: files, to: socket.number) ?? 0
        }
    }
}

@Suite struct `Client of a PCI session` {
    /// A client and its server; the server is stopped by closing the client.
    private func connect(_ body: (VFIOUserClient) throws -> Void) throws -> Machine {
        let server: Server
        do {
            let (near, far) = try UnixSocket.pair(.stream)
            server = try Server(far)
            try body(try VFIOUserClient(socket: near))
        }
        server.stop()
        return server.machine
    }

    @Test func `learns what the device is`() throws {
        _ = try connect { client in
            #expect(client.descriptorLimit == 16 && client.dataLimit == 65536)
            let device = try client.device()
            #expect(device.regionCount == 9 && device.interruptKindCount == 5 && device.canReset)
            #expect(try client.vectorCount() == Machine.vectorCount)
            #expect(try client.region(4).byteCount == 1 << 33)
            #expect(try client.region(4).areas.isEmpty)
            #expect(try client.region(VFIOUserClient.configurationRegion).byteCount == 4096)
        }
    }

    @Test func `maps a part of a region`() throws {
        let machine = try connect { client in
            let region = try client.region(0)
            let area = try #require(region.areas.first)
            #expect(region.areas.count == 1 && area.offset == 0x1000 && area.byteCount == 0x1000)
            let mapping = try client.map(area)
            mapping.bytes.store(UInt32(0xD00B_E115), at: 16)
        }
        let whole = try Mapping(machine.file.number, byteCount: 1 << 16)
        #expect(whole.bytes.load(UInt32.self, at: 0x5010) == 0xD00B_E115)
    }

    @Test func `gives memory and takes it away`() throws {
        let file = SharedDescriptor(try MemoryFile.create(name: "ram", byteCount: 1 << 20))
        let machine = try connect { client in
            try client.mapMemory(address: 0, byteCount: 1 << 19, file: file)
            let error = #expect(throws: VFIOUserError.self) {
                try client.mapMemory(address: 4096, byteCount: 4096, file: nil)
            }
            #expect(error?.code == ErrorNumber.exists)
            try client.mapMemory(address: 1 << 20, byteCount: 4096, file: nil)
            try client.unmapMemory(address: 1 << 20, byteCount: 4096)
            try client.unmapAllMemory()
            try client.mapMemory(address: 1 << 30, byteCount: 4096, file: file, fileOffset: 8192)
        }
        #expect(machine.session.state.unreachable.isEmpty)
        let region = try #require(machine.session.state.memory.first)
        #expect(try region.file.identity() == file.identity())
    }

    @Test func `sets interrupts up`() throws {
        let events = try (0..<4).map { _ in try makeEvent() }
        let machine = try connect { client in
            try client.setInterrupts(first: 0, events + events)
            try client.disableInterrupts()
            try client.setInterrupts(first: 2, events)
            try client.removeInterrupts(3..<5)
            let error = #expect(throws: VFIOUserError.self) {
                try client.setInterrupts(first: Machine.vectorCount, events)
            }
            #expect(error?.code == ErrorNumber.invalid)
        }
        let assigned = machine.session.state.vectors.indices.filter {
            machine.session.state.vectors[$0] != nil
        }
        #expect(assigned == [2, 5])
        // The same eventfd, not a copy of its count.
        EventDescriptor.signal(try #require(machine.session.state.vectors[5]).number)
        #expect(EventDescriptor.drain(events[3].number) == 1)
    }

    @Test func `reads and writes registers`() throws {
        let machine = try connect { client in
            #expect(try client.readRegister(region: 0, offset: 8, byteCount: 4) == 0x0B0A_0908)
            try client.writeRegister(region: 0, offset: 0x14, byteCount: 4, value: 0x46_0001)
            try client.writeRegister(
                region: 4, offset: 0x1000, byteCount: 4, value: 3, isPosted: true)
            #expect(try client.readConfiguration(offset: 0, byteCount: 2) == 0x15B3)
            try client.writeConfiguration(offset: 4, byteCount: 2, value: 6)
            let all = try client.readRegion(4, offset: 0, byteCount: client.dataLimit)
            #expect(all.count == client.dataLimit)
        }
        let writes = machine.device.accesses.filter { $0.value != nil }
        #expect(
            writes == [
                Notebook.Access(bar: 0, offset: 0x14, byteCount: 4, value: 0x46_0001),
                Notebook.Access(bar: 4, offset: 0x1000, byteCount: 4, value: 3),
            ])
        #expect(machine.session.state.isBusMaster)
    }

    @Test func `resets the device`() throws {
        let machine = try connect { client in
            try client.writeConfiguration(offset: 4, byteCount: 2, value: 6)
            try client.reset()
            #expect(try client.readConfiguration(offset: 4, byteCount: 2) == 0)
        }
        #expect(machine.session.state.resetCount == 2)
    }

    @Test func `connects to a path`() throws {
        #expect(throws: VFIOUserError.self) { try VFIOUserClient(path: "/nonexistent/socket") }
    }
}
