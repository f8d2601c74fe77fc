import Platform
import Testing

@Suite struct `Target server` {
    @Test func `takes no connection when it has stopped`() throws {
        for _ in 0..<2000 {
            let server = try TargetServer()
            let one = try TCPSocket.connect(
                to: "127.0.0.1", port: server.port, milliseconds: 10_000)
            // The end of a connection is what a path hears first.
            server.stopSoon()
            while !hasEnded(one) {}
            #expect(throws: SystemError.self) {
                _ = try TCPSocket.connect(
                    to: "127.0.0.1", port: server.port, milliseconds: 10_000)
            }
            server.stop()
        }
    }

    private func hasEnded(_ socket: borrowing FileDescriptor) -> Bool {
        do { return try socket.read(upTo: 1)?.isEmpty == true } catch { return true }
    }
}
