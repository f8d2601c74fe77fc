import Keeper
import Platform
import Testing

/// A keeper on a thread of this process.
private final class RunningKeeper: Sendable {
    let path = "/var/tmp/softsnap-keeper-\(ProcessFacts.identifier)-\(UInt64.random(in: 0...9999))"
    private let thread: Thread

    init() throws {
        let listener = SharedDescriptor(try UnixSocket.listen(at: path, .packet))
        thread = try Thread(name: "keeper") { [path] in
            guard let own = try? listener.duplicate() else { return }
            Keeper.serve(on: own, path: path)
        }
    }

    /// Returns when it has ended.
    func join() { thread.join() }
    deinit { try? FileSystem.remove(path) }
}

@Suite struct `Kept descriptors` {
    private func memory(_ byte: UInt8) throws -> SharedDescriptor {
        let file = try MemoryFile.create(name: "kept", byteCount: 4096)
        try file.write([byte])
        return SharedDescriptor(file)
    }

    @Test func `gives back what a client has left`() throws {
        let keeper = try RunningKeeper()
        let files = try [1, 2, 3].map { try memory($0) }
        do {
            let first = try KeeperLink(path: keeper.path)
            for (index, file) in files.enumerated() {
                #expect(first.put(file, as: UInt64(index + 7)))
            }
            #expect(first.put(files[0], as: 9))
            #expect(first.delete(8))
        }
        let second = try KeeperLink(path: keeper.path)
        let found = try second.list()
        #expect(found.keys.sorted() == [7, 9])
        for number: UInt64 in [7, 9] {
            #expect(try found[number]?.identity() == files[0].identity())
        }
        second.leave()
        keeper.join()
    }

    @Test func `keeps more descriptors than one message has`() throws {
        let keeper = try RunningKeeper()
        let file = try memory(1)
        let link = try KeeperLink(path: keeper.path)
        for number in 0..<300 { #expect(link.put(file, as: UInt64(number))) }
        #expect(try link.list().count == 300)
        link.leave()
        keeper.join()
    }

    @Test func `ends when nobody can come back`() throws {
        let keeper = try RunningKeeper()
        try FileSystem.remove(keeper.path)
        keeper.join()
    }

    @Test func `refuses a stranger and goes on`() throws {
        let keeper = try RunningKeeper()
        let file = try memory(1)
        #expect(try KeeperLink(path: keeper.path).put(file, as: 5))
        let stranger = try UnixSocket.connect(to: keeper.path, .packet)
        _ = try UnixSocket.send([1, 2, 3], to: stranger.number)
        #expect(UnixSocket.waitReadable(stranger.number, milliseconds: 10_000))
        #expect(try UnixSocket.receive(upTo: 1, from: stranger.number)?.bytes.isEmpty == true)
        let link = try KeeperLink(path: keeper.path)
        #expect(try link.list().keys.sorted() == [5])
        link.leave()
        keeper.join()
    }
}
