import Hardware
import JSONRPC
import Platform
import Synchronization
import Testing

@testable import SoftDPU

/// A service's end of the link, with the test as its DPU.
@Suite struct `A control link` {
    /// What a port would hear.
    private final class Heard: RemoteLease {
        let successor = Mutex<String??>(nil)
        func take(_ state: FunctionState) {}
        func lost() {}
        func end(successor: String?) { self.successor.withLock { $0 = successor } }
    }

    private let dpu: SharedDescriptor
    private let link: ControlLink

    init() throws {
        let (near, far) = try UnixSocket.pair(.packet)
        dpu = far
        link = try ControlLink(PacketWire(near)) { _ in }
    }

    private func say(_ body: JSONValue, _ descriptors: [SharedDescriptor] = []) throws {
        #expect(try ControlMessage(body, descriptors: descriptors).send(to: dpu.number))
    }

    /// Returns when all that was said has been heard: answers a call.
    private func settle() async throws {
        async let answer = link.call("any")
        try await onThread {
            while true {
                if let call = try ControlMessage.receive(from: dpu.number) {
                    let id = try #require(call.body.unsigned("id"))
                    return try say(["id": JSONValue(id), "result": [:]])
                }
                _ = UnixSocket.waitReadable(dpu.number, milliseconds: 1000)
            }
        }
        _ = try await answer
    }

    @Test func `tells a port of the end that came before it`() async throws {
        try say(["event": "lease_over", "lease": 7, "to": "other"])
        try await settle()
        let port = Heard()
        link.register(port, lease: 7)
        #expect(port.successor.withLock { $0 } == .some("other"))
        link.close()
    }

    @Test func `closes the descriptors that the DPU takes back`() async throws {
        var ends = Optional(try UnixSocket.pair(.stream))
        let reader = try #require(ends).0
        try say(["event": "file", "file": 1], [try #require(ends).1])
        ends = nil
        try await settle()
        #expect(!UnixSocket.waitReadable(reader.number, milliseconds: 0))
        try say(["event": "drop", "drop": [1]])
        try await settle()
        // The other end is closed.
        #expect(UnixSocket.waitReadable(reader.number, milliseconds: 1000))
        link.close()
    }
}
