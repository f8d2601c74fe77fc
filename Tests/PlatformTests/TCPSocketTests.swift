import Platform
import Testing

@Suite struct `TCP socket` {
    @Test func `has buffers of the size asked for`() throws {
        let listener = try TCPSocket.listen(at: "127.0.0.1")
        let port = try TCPSocket.port(of: listener.number)
        var options = TCPSocket.Options()
        options.receiveByteCount = 40_000
        options.sendByteCount = 20_000
        let small = try TCPSocket.connect(
            to: "127.0.0.1", port: port, options, milliseconds: 1_000)
        // The kernel doubles what is asked for.
        let found = try TCPSocket.buffers(of: small.number)
        #expect(found == (80_000, 40_000))
        let plain = try TCPSocket.connect(to: "127.0.0.1", port: port, milliseconds: 1_000)
        let standard = try TCPSocket.buffers(of: plain.number)
        #expect(standard.receive != 80_000 && standard.send != 40_000)
    }

    @Test func `acknowledges at once when it is told to`() throws {
        let listener = try TCPSocket.listen(at: "127.0.0.1")
        let near = try TCPSocket.connect(
            to: "127.0.0.1", port: try TCPSocket.port(of: listener.number), milliseconds: 1_000)
        let far = try #require(try accept(listener.number))
        // A conversation: the kernel sends its acknowledgements along with answers.
        for _ in 0..<8 {
            _ = try UnixSocket.send([1], to: far.number)
            _ = UnixSocket.waitReadable(near.number, milliseconds: 1_000)
            _ = try UnixSocket.receive(upTo: 1, from: near.number)
            _ = try UnixSocket.send([1], to: near.number)
            _ = UnixSocket.waitReadable(far.number, milliseconds: 1_000)
            _ = try UnixSocket.receive(upTo: 1, from: far.number)
        }
        #expect(!TCPSocket.acknowledgesNow(near.number))
        TCPSocket.acknowledge(near.number)
        #expect(TCPSocket.acknowledgesNow(near.number))
    }

    private func accept(_ listener: Int32) throws -> SharedDescriptor? {
        _ = UnixSocket.waitReadable(listener, milliseconds: 1_000)
        guard let socket = try UnixSocket.accept(listener) else { return nil }
        return SharedDescriptor(socket)
    }
}

@Suite struct `Dynamic library` {
    @Test func `is loaded, or the loader says why not`() {
        #expect(DynamicLibrary.load("libm.so.6") == nil)
        let reason = DynamicLibrary.load("/nowhere/libx.so")
        #expect(reason?.contains("/nowhere/libx.so: cannot open shared object file") == true)
        #expect(DynamicLibrary.load("/etc/passwd")?.contains("invalid ELF header") == true)
    }
}
