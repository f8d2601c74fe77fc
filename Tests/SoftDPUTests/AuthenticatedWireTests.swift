import Bdev
import Hardware
import JSONRPC
import Platform
import Seeds
import Testing

@testable import SoftDPU

/// Two ends, and the test between them as the network.
private struct Ends {
    static let secret = SharedSecret(Array("correct horse battery staple".utf8))

    let service: AuthenticatedWire
    let dpu: AuthenticatedWire
    private let fromService: SharedDescriptor
    private let fromDPU: SharedDescriptor

    init(_ secret: SharedSecret = Ends.secret, dpu other: SharedSecret = Ends.secret) throws {
        let (near, far) = try UnixSocket.pair(.stream)
        let (left, right) = try UnixSocket.pair(.stream)
        (fromService, fromDPU) = (far, right)
        service = try AuthenticatedWire(near, .service, secret)
        dpu = try AuthenticatedWire(left, .dpu, other)
    }

    /// What the service has said and the network not taken.
    func takeUp() throws -> [UInt8] { try Self.take(fromService) }
    func takeDown() throws -> [UInt8] { try Self.take(fromDPU) }
    func giveUp(_ bytes: [UInt8]) throws { try Self.give(bytes, fromDPU) }
    func giveDown(_ bytes: [UInt8]) throws { try Self.give(bytes, fromService) }

    private static func take(_ socket: SharedDescriptor) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let part = try UnixSocket.receive(upTo: 65536, from: socket.number) {
            bytes += part.bytes
        }
        return bytes
    }

    private static func give(_ bytes: [UInt8], _ socket: SharedDescriptor) throws {
        #expect(try UnixSocket.send(bytes[...], to: socket.number) == bytes.count)
    }

    /// - Returns: the service's greeting, which the DPU has had.
    @discardableResult func greet() throws -> [UInt8] {
        let greeting = try takeUp()
        try giveUp(greeting)
        try giveDown(try takeDown())
        #expect(try service.isGreeted())
        #expect(try dpu.isGreeted())
        return greeting
    }

    func pass(_ text: String) throws -> String? {
        #expect(try service.send(ControlMessage(.string(text))))
        try giveUp(try takeUp())
        return try dpu.receive()?.body.string
    }
}

@Suite struct `Control messages over TCP` {
    private func refusal(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch ControlLinkError.broken(let reason) {
            return reason
        } catch { return "\(error)" }
    }

    @Test func `go both ways`() throws {
        let ends = try Ends()
        try ends.greet()
        #expect(!ends.dpu.isProven)
        #expect(try ends.pass("one") == "one")
        #expect(ends.dpu.isProven && !ends.service.isProven)
        #expect(try ends.dpu.send(ControlMessage("two")))
        try ends.giveDown(try ends.takeDown())
        #expect(try ends.service.receive()?.body == "two")
        #expect(try ends.service.receive() == nil)
        #expect(try ends.pass("three") == "three")
    }

    @Test func `arrive whole, however they are cut`() throws {
        let ends = try Ends()
        for byte in try ends.takeUp() {
            #expect(try ends.dpu.receive() == nil)
            try ends.giveUp([byte])
        }
        #expect(try ends.dpu.receive() == nil)
        try ends.giveDown(try ends.takeDown())
        #expect(try ends.service.isGreeted())
        #expect(try ends.service.send(ControlMessage("one")))
        #expect(try ends.service.send(ControlMessage("two")))
        var heard: [String?] = []
        for byte in try ends.takeUp() {
            try ends.giveUp([byte])
            if let message = try ends.dpu.receive() { heard.append(message.body.string) }
        }
        #expect(heard == ["one", "two"])
    }

    @Test func `of another secret are refused`() throws {
        let ends = try Ends(dpu: SharedSecret(Array("another secret of theirs".utf8)))
        try ends.greet()
        let reason = refusal { _ = try ends.pass("one") }
        #expect(reason?.contains("give both ends the same file") == true, "\(reason ?? "")")
        #expect(!ends.dpu.isProven)
    }

    @Test func `are refused when a single bit is another`() throws {
        let sample = try Ends()
        try sample.greet()
        #expect(try sample.service.send(ControlMessage("some words")))
        let count = try sample.takeUp().count
        for index in 0..<count {
            let ends = try Ends()
            try ends.greet()
            #expect(try ends.service.send(ControlMessage("some words")))
            var bytes = try ends.takeUp()
            bytes[index] ^= 1
            try ends.giveUp(bytes)
            // A longer length waits for more.
            if index < 4 { try ends.giveUp([UInt8](repeating: 0, count: 256)) }
            #expect(refusal { _ = try ends.dpu.receive() } != nil, "byte \(index)")
        }
    }

    @Test func `are refused when they are said again, left out or sent back`() throws {
        let again = try Ends()
        try again.greet()
        #expect(try again.service.send(ControlMessage("one")))
        let bytes = try again.takeUp()
        try again.giveUp(bytes + bytes)
        #expect(try again.dpu.receive()?.body == "one")
        #expect(refusal { _ = try again.dpu.receive() } != nil)

        let gap = try Ends()
        try gap.greet()
        #expect(try gap.service.send(ControlMessage("one")))
        _ = try gap.takeUp()
        #expect(refusal { _ = try gap.pass("two") } != nil)

        let echo = try Ends()
        try echo.greet()
        #expect(try echo.service.send(ControlMessage("one")))
        try echo.giveDown(try echo.takeUp())
        #expect(refusal { _ = try echo.service.receive() } != nil)
    }

    @Test func `of an earlier session are refused`() throws {
        let first = try Ends()
        let greeting = try first.greet()
        #expect(try first.service.send(ControlMessage("one")))
        let message = try first.takeUp()
        let second = try Ends()
        try second.giveUp(greeting + message)
        #expect(refusal { _ = try second.dpu.receive() } != nil)
        #expect(!second.dpu.isProven)
    }

    @Test func `that are longer than allowed are refused before they have come`() throws {
        let stranger = try Ends()
        try stranger.greet()
        try stranger.giveUp([0, 0, 0x10, 1] + [UInt8](repeating: 0, count: 32))
        #expect(
            refusal { _ = try stranger.dpu.receive() }
                == "a message of 4097 bytes, where 4096 are allowed")
        let known = try Ends()
        try known.greet()
        #expect(try known.pass("one") == "one")
        try known.giveUp([0xff, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 32))
        #expect(
            refusal { _ = try known.dpu.receive() }
                == "a message of 4294967295 bytes, where 131072 are allowed")
    }

    @Test func `need a greeting, and not one's own`() throws {
        let other = try Ends()
        try other.giveUp(Array("GET / HTTP/1.1\r\n".utf8))
        #expect(
            refusal { _ = try other.dpu.receive() }
                == "what is said there is no control link of SoftSNAP")
        let mirror = try Ends()
        try mirror.giveDown(try mirror.takeUp())
        #expect(refusal { _ = try mirror.service.isGreeted() } == "the greeting came back")
    }

    @Test func `wait for a reader, and none is lost`() throws {
        let ends = try Ends()
        try ends.greet()
        #expect(try ends.pass("hello") == "hello")
        let text = String(repeating: "x", count: 60_000)
        var sent = 0
        while try ends.service.send(ControlMessage(.string("\(sent)\(text)"))) { sent += 1 }
        #expect(sent > 1 && ends.service.hasUnsent)
        for number in 0..<sent {
            var message: ControlMessage?
            while message == nil {
                try ends.service.flush()
                try ends.giveUp(try ends.takeUp())
                message = try ends.dpu.receive()
            }
            #expect(message?.body == .string("\(number)\(text)"))
        }
        #expect(!ends.service.hasUnsent)
    }
}

@Suite struct `A shared secret` {
    private static func write(_ text: String, mode: UInt32 = 0o600) throws -> String {
        let path = "/var/tmp/softsnap-secret-\(UUID.random())"
        try FileSystem.open(path, .replace).write(Array(text.utf8))
        try FileSystem.setMode(path, mode)
        return path
    }

    @Test func `is a file's contents without its last line's end`() throws {
        let path = try Self.write("0123456789abcdef\n")
        defer { try? FileSystem.remove(path) }
        #expect(try SharedSecret(path: path).bytes == Array("0123456789abcdef".utf8))
    }

    @Test(arguments: [
        ("0123456789abcdef", 0o640, "others may read the secret; chmod 600"),
        ("0123456789abcde\n", 0o600, "has 15 bytes; a secret has 16 to 4096"),
        (String(repeating: "x", count: 5000), 0o600, "File too large"),
    ])
    func `is refused`(text: String, mode: UInt32, reason: String) throws {
        let path = try Self.write(text, mode: mode)
        defer { try? FileSystem.remove(path) }
        #expect {
            try SharedSecret(path: path)
        } throws: { error in
            "\(error)".contains(reason) && "\(error)".contains(path)
        }
    }

    @Test func `has to be there`() {
        #expect {
            try SharedSecret(path: "/var/tmp/no such secret")
        } throws: { error in
            "\(error)".contains("/var/tmp/no such secret: No such file")
        }
    }
}

/// A software DPU that listens to other machines, as far as one without an RDMA device can.
@Suite struct `A listening DPU` {
    private static func listening(
        _ body: (DPUPlace, UInt16, LineBuffer) async throws -> Void
    ) async throws {
        let stack = try await Stack(functionCount: 1)
        let port = try stack.dpu.listen(at: "127.0.0.1", port: 0, Ends.secret)
        try await body(
            .network(address: "127.0.0.1", port: port, Ends.secret), port, stack.lines)
        await stack.stop()
    }

    private static func refusal(_ body: () async throws -> Void) async -> String? {
        do {
            try await body()
            return nil
        } catch { return "\(error)" }
    }

    @Test func `gives nobody what needs its memory or its operator`() async throws {
        try await Self.listening { place, _, _ in
            let mapped = await Self.refusal {
                _ = try await RemoteManager(try await place.connect()) { _ in }
            }
            #expect(mapped?.contains("start it with --data-path rdma") == true, "\(mapped ?? "")")
            let commander = await Self.refusal {
                _ = try await RemoteManager(
                    try await place.connect(), isOperator: true, dataPath: .rdma
                ) { _ in }
            }
            #expect(commander?.contains("need the control socket") == true, "\(commander ?? "")")
            let rdma = await Self.refusal {
                _ = try await RemoteManager(try await place.connect(), dataPath: .rdma) { _ in }
            }
            #expect(rdma?.contains("has no RDMA device") == true, "\(rdma ?? "")")
        }
    }

    @Test func `hears services beside any number of strangers`() async throws {
        try await Self.listening { place, port, lines in
            // Those that say nothing come first: of what is refused the log tells only so much.
            var strangers: [SharedDescriptor] = []
            for number in 0..<40 {
                let socket = try await onThread {
                    SharedDescriptor(
                        try TCPSocket.connect(to: "127.0.0.1", port: port, milliseconds: 2000))
                }
                if number >= 20 {
                    _ = try UnixSocket.send(Array("hello"[...].utf8)[...], to: socket.number)
                }
                strangers.append(socket)
            }
            let reason = await Self.refusal {
                _ = try await RemoteManager(try await place.connect(), dataPath: .rdma) { _ in }
            }
            #expect(reason?.contains("has no RDMA device") == true, "\(reason ?? "")")
            #expect(lines.all.contains { $0.contains("is no control link of SoftSNAP") })
            #expect(lines.all.contains { $0.contains("has not said who it is") })
        }
    }

    @Test func `tells who has another secret so`() async throws {
        try await Self.listening { _, port, lines in
            let other = SharedSecret(Array("quite another secret".utf8))
            let place = DPUPlace.network(address: "127.0.0.1", port: port, other)
            let reason = await Self.refusal {
                _ = try await RemoteManager(try await place.connect(), dataPath: .rdma) { _ in }
            }
            #expect(reason?.contains("the same secret") == true, "\(reason ?? "")")
            #expect(lines.all.contains { $0.contains("give both ends the same file") })
        }
    }

    @Test(arguments: [
        ("127.0.0.1:4430", "127.0.0.1", 4430), ("[::1]:1", "::1", 1),
        ("[fe80::1]:65535", "fe80::1", 65535),
    ])
    func `is named by address and port`(text: String, address: String, port: UInt16) {
        let found = DPUPlace.endpoint(text)
        #expect(found?.address == address && found?.port == port)
    }

    @Test(arguments: ["/run/dpu.sock", "host:1", "127.0.0.1", "127.0.0.1:65536", ":1", "[]:1"])
    func `is not named by anything else`(text: String) {
        #expect(DPUPlace.endpoint(text) == nil)
    }

    @Test func `has to be there`() async throws {
        let place = DPUPlace.network(address: "127.0.0.1", port: 9, Ends.secret)
        let reason = await Self.refusal { _ = try await place.connect() }
        #expect(reason?.contains("no software DPU at 127.0.0.1 port 9") == true, "\(reason ?? "")")
        #expect(reason?.contains("softdpu run --listen 127.0.0.1:9") == true)
    }
}
