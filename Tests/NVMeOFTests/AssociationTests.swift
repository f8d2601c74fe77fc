import Bdev
import CWire
import NVMeOF
import Platform
import Testing

@Suite(.serialized) struct `Associations on record` {
    /// A directory that the services of a software DPU share.
    private final class Folder {
        let path: String

        init() throws {
            path = "/tmp/softsnap-nvmeof-\(ProcessFacts.identifier)-\(Clock.monotonicNanoseconds())"
            try FileSystem.makeDirectory(path, mode: 0o700)
        }

        deinit {
            for name in names { try? FileSystem.remove("\(path)/\(name)") }
            try? FileSystem.removeDirectory(path)
        }

        var names: [String] { (try? FileSystem.entries(of: path)) ?? [] }

        func record(of holder: String) throws -> String {
            let bytes = try FileSystem.contents(of: "\(path)/\(holder)", limit: 1 << 16)
            let text = SealedText(name: "softsnap-associations", version: 1)
            return String(decoding: try text.open(bytes), as: UTF8.self)
        }

        /// What a service leaves that was killed with an association with controller 9.
        func leave(
            _ holder: String, at port: UInt16, bound: String,
            subsystem: String = "nqn.2024-01.test:s1"
        ) throws {
            let line = "tcp\t127.0.0.1\t\(port)\t\t\(subsystem)\tnqn.test:h\t0\t9\t\(bound)\n"
            let text = SealedText(name: "softsnap-associations", version: 1)
            try leave(holder, text.seal(Array(line.utf8)))
        }

        func leave(_ holder: String, _ bytes: [UInt8]) throws {
            try FileSystem.open("\(path)/\(holder)", .replace).write(bytes)
        }
    }

    private let folder: Folder
    private let server: TargetServer
    private let bench: RemoteBench

    init() throws {
        folder = try Folder()
        server = try TargetServer()
        bench = RemoteBench(associations: folder.path)
    }

    private func backend() async throws -> any Backend {
        try await bench.attach(server)
        return try bench.bdevs.device("Nvme0n1").backend
    }

    private var awaited: [AwaitedAssociation] {
        get async { await bench.remotes.all.first?.awaited ?? [] }
    }

    @Test func `are there before a function is driven, and go with an orderly end`() async throws {
        defer { server.stop() }
        let backend = try await backend()
        #expect(folder.names == [])
        try backend.hold(for: 0xAB)
        try backend.hold(for: 0xAB)
        #expect(folder.names == ["ab", "ab.lock"])
        let line =
            "tcp\t127.0.0.1\t\(server.port)\t\tnqn.2024-01.test:s1\tnqn.2024-01.test:host\t0\t5"
            + "\t20000\n"
        #expect(try folder.record(of: "ab") == line)
        #expect(throws: SystemError.self) { _ = try FileLock(path: folder.path + "/ab.lock") }
        // Its own holder is nobody's predecessor.
        #expect(try !backend.isHeld(by: 0xAB))
        await bench.remotes.closeAll()
        #expect(folder.names == [])
        #expect(server.withDisk(\.shutdownCount) == 1)
    }

    @Test func `stay while commands may be under way`() async throws {
        defer { server.stop() }
        let backend = try await backend()
        try backend.hold(for: 1)
        let user = try bench.user()
        #expect(user.run(user.request(.read, block: 1)) == .success)
        server.setSilent(true)
        user.submit([user.request(.write, block: 1)])
        await bench.remotes.closeAll()
        #expect(try folder.record(of: "1").contains("\t5\t20000"))
        server.setSilent(false)
        #expect(user.finish() == [.failed])
    }

    @Test func `follow a lost connection`() async throws {
        let backend = try await backend()
        try backend.hold(for: 1)
        let user = try bench.user()
        #expect(user.run(user.request(.write, block: 1)) == .success)
        server.stop()
        #expect(await bench.wait { bench.log.has("event=path_lost") })
        // The target may still be at work.
        #expect(try folder.record(of: "1").split(separator: "\n").count == 1)
        await bench.remotes.closeAll()
        #expect(folder.names == ["1", "1.lock"])
    }

    @Test func `are waited for until the target says that they are over`() async throws {
        defer { server.stop() }
        server.withDisk { $0.otherControllers = [9] }
        try folder.leave("3", at: server.port, bound: "600000")
        try folder.leave("4", at: server.port, bound: "600000", subsystem: "nqn.other")
        let backend = try await backend()
        #expect(try backend.isHeld(by: 3))
        // Another subsystem, and nobody.
        _ = try backend.isHeld(by: 4)
        #expect(await bench.wait { (try? backend.isHeld(by: 4)) == false })
        #expect(try !backend.isHeld(by: 5))
        #expect(await bench.wait { await awaited.count == 1 })
        let wait = try #require(await awaited.first)
        #expect(wait.controllerID == 9 && wait.options.port == server.port)
        #expect((500_000...600_000).contains(try #require(wait.millisecondsLeft)))
        try await Task.sleep(for: .milliseconds(300))
        #expect(try backend.isHeld(by: 3))
        server.withDisk { $0.otherControllers = [] }
        #expect(await bench.wait { (try? backend.isHeld(by: 3)) == false })
        #expect(await bench.wait { bench.log.has("cntlid=9 by=\"what the target says\"") })
        #expect(await awaited.isEmpty)
        #expect(!folder.names.contains("3"))
        await bench.remotes.closeAll()
    }

    @Test func `are over when their identifier is ours`() async throws {
        defer { server.stop() }
        server.withDisk { $0.behaviour.controllerID = 9 }
        try folder.leave("3", at: server.port, bound: "600000")
        let backend = try await backend()
        #expect(await bench.wait { (try? backend.isHeld(by: 3)) == false })
    }

    @Test func `are waited for no longer than their keep-alive time`() async throws {
        defer { server.stop() }
        let port: UInt16
        do {
            let closed = try TCPSocket.listen(at: "127.0.0.1")
            port = try TCPSocket.port(of: closed.number)
        }
        try folder.leave("3", at: port, bound: "700")
        let backend = try await backend()
        let start = Clock.monotonicNanoseconds()
        #expect(await bench.wait { (try? backend.isHeld(by: 3)) == false })
        #expect(Clock.monotonicNanoseconds() - start >= 690_000_000)
        #expect(await bench.wait { bench.log.has("by=\"its keep-alive time\"") })
    }

    @Test func `without a keep-alive time end when the target or the operator says`() async throws {
        defer { server.stop() }
        server.withDisk { $0.otherControllers = [9] }
        try folder.leave("3", at: server.port, bound: "none")
        let backend = try await backend()
        #expect(try backend.isHeld(by: 3))
        #expect(await bench.wait { bench.log.has("remove \(folder.path)/3") })
        #expect(await awaited.first.map { $0.millisecondsLeft == nil } == true)
        try FileSystem.remove(folder.path + "/3")
        #expect(await bench.wait { (try? backend.isHeld(by: 3)) == false })
    }

    @Test func `of a service that lives are waited for`() async throws {
        defer { server.stop() }
        try folder.leave("3", at: server.port, bound: "1")
        let backend = try await backend()
        do {
            let lock = try FileLock(path: folder.path + "/3.lock")
            #expect(try backend.isHeld(by: 3))
            try await Task.sleep(for: .milliseconds(200))
            #expect(try backend.isHeld(by: 3))
            _ = lock
        }
        #expect(await bench.wait { (try? backend.isHeld(by: 3)) == false })
        #expect(folder.names == [])
    }

    @Test(arguments: ["", "softsnap-associations 1\nx\n", "softsnap-associations 2\n"])
    func `that are damaged stand for every subsystem`(text: String) async throws {
        defer { server.stop() }
        try folder.leave("3", Array(text.utf8))
        let backend = try await backend()
        #expect(try backend.isHeld(by: 3))
        #expect(await bench.wait { bench.log.has("event=predecessor_record_damaged") })
        #expect(try backend.isHeld(by: 3))
        await bench.remotes.closeAll()
        // Not settled, so the next one waits too.
        #expect(folder.names.contains("3"))
    }

    @Test func `refuse what they cannot hold`() async throws {
        defer { server.stop() }
        server.withDisk { $0.behaviour.host = nil }
        var options = RemoteBench.options(server)
        options.host = "nqn.test:\n"
        await #expect(throws: PathFault.self) {
            try await bench.remotes.attach("Nvme1", options)
        }
        let nowhere = RemoteBench(associations: "/proc/no/such")
        try await nowhere.attach(server)
        let backend = try nowhere.bdevs.device("Nvme0n1").backend
        #expect(throws: SystemError.self) { try backend.hold(for: 1) }
    }
}
