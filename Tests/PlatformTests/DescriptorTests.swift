import Platform
import Testing

@Suite struct `File descriptors` {
    @Test func `arrive over a socket with the first byte`() throws {
        let (near, far) = try UnixSocket.pair(.packet)
        let file = try MemoryFile.create(name: "passed", byteCount: 8192)
        try file.write([1, 2, 3], at: 5)
        let event = try EventDescriptor.create()
        let sent = try UnixSocket.send(
            [7, 8], descriptors: [file.number, event.number], to: near.number)
        #expect(sent == 2)
        let message = try #require(try UnixSocket.receive(upTo: 16, from: far.number))
        #expect(message.bytes == [7, 8])
        #expect(message.descriptors.map(\.sharedMemoryByteCount) == [8192, nil])
        #expect(message.descriptors.map(\.isEvent) == [false, true])
        #expect(try UnixSocket.receive(upTo: 16, from: far.number) == nil)
    }

    @Test func `are refused when one message brings too many`() throws {
        let (near, _) = try UnixSocket.pair(.packet)
        let event = try EventDescriptor.create()
        #expect(throws: SystemError.self) {
            try UnixSocket.send(
                [1], descriptors: Array(repeating: event.number, count: 33), to: near.number)
        }
    }

    @Test func `tell what they are`() throws {
        let event = try EventDescriptor.create()
        let memory = try MemoryFile.create(name: "kind", byteCount: 4096)
        let null = try FileSystem.open("/dev/null", .readWrite)
        let disk = try FileSystem.open("/etc/passwd", .read)
        let (socket, _) = try UnixSocket.pair(.stream)
        #expect(event.isEvent && event.sharedMemoryByteCount == nil)
        #expect(!memory.isEvent && memory.sharedMemoryByteCount == 4096)
        #expect(!null.isEvent && null.sharedMemoryByteCount == nil)
        #expect(!disk.isEvent && disk.sharedMemoryByteCount == nil)
        #expect(!socket.isEvent && socket.sharedMemoryByteCount == nil)
        #expect(null.kindName == "/dev/null")
        #expect(socket.kindName.hasPrefix("socket:["))
    }

    @Test func `share one open file when duplicated`() throws {
        let event = try EventDescriptor.create()
        let second = try event.duplicate()
        EventDescriptor.signal(event.number)
        EventDescriptor.signal(second.number)
        #expect(EventDescriptor.drain(second.number) == 2)
        #expect(EventDescriptor.drain(event.number) == 0)
    }
}

@Suite struct `Memory file` {
    @Test func `cannot change its size`() throws {
        let file = try MemoryFile.create(name: "sealed", byteCount: 8192)
        for size in [4096, 16384] as [UInt64] {
            let error = #expect(throws: SystemError.self) {
                try FileSystem.resize(file.number, byteCount: size)
            }
            #expect(error?.code == ErrorNumber.notPermitted)
        }
        #expect(file.sharedMemoryByteCount == 8192)
    }

    @Test func `is the same memory in every mapping`() throws {
        let file = try MemoryFile.create(name: "twice", byteCount: 8192)
        try file.write([0xAB], at: 4096)
        let mapping = try Mapping(file.number, offset: 4096, byteCount: 4096)
        #expect(mapping.byteCount == 4096 && !mapping.isDead)
        #expect(throws: SystemError.self) { try Mapping(-1, byteCount: 4096) }
    }
}
