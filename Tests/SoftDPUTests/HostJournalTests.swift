import Hardware
import JSONRPC
import Memory
import Platform
import Testing

@testable import SoftDPU

/// The steps of taking a message, with the process killed after each of them.
@Suite struct `Host journal` {
    private struct World {
        let host: SharedDescriptor
        let socket: SharedDescriptor
        let record: RecordFile
        let ends: [SharedDescriptor]
        let encoded: JSONValue

        init() throws {
            (host, socket) = try UnixSocket.pair(.stream)
            record = try RecordFile()
            var ends: [SharedDescriptor] = []
            encoded = try HostJournal(after: 0).encode { file in
                ends.append(file)
                return UInt64(ends.count - 1)
            }
            self.ends = ends
        }

        /// A journal as the next process finds it.
        func journal() -> HostJournal? {
            HostJournal(encoded, number: record.mark.message) { [ends] number in
                number.map { ends[Int($0)] }
            }
        }

        func sees() throws -> [UInt8] {
            try UnixSocket.receive(upTo: 100_000, from: host.number)?.bytes ?? []
        }
    }

    private static let message = [UInt8](repeating: 7, count: 40)
    private static let reply = [UInt8](repeating: 9, count: 66_000)

    /// Carries out one message up to `steps`, as `HostSocket.finish` does.
    private func take(_ world: World, _ journal: HostJournal, steps: Int) {
        let fits = journal.begin(answer: Self.reply)
        #expect(fits)
        if steps < 2 { return }
        world.record.write(
            Array("{}".utf8), message: (journal.number, Self.message.count))
        if steps < 3 { return }
        let isTaken = journal.take(Self.message.count, from: world.socket.number)
        #expect(isTaken)
        if steps < 4 { return }
        let isGiven = journal.give(nil, to: world.socket.number)
        #expect(isGiven)
    }

    @Test(arguments: 1...4)
    func `answers once, wherever its process is killed`(steps: Int) throws {
        let world = try World()
        for round in 0..<5 {
            _ = try UnixSocket.send(Self.message[...], to: world.host.number)
            let first = try #require(world.journal())
            take(world, first, steps: steps)
            // The next process: what is left, then what waits.
            let second = try #require(world.journal())
            let count = Int(world.record.mark.messageByteCount)
            let isTaken = second.take(count, from: world.socket.number)
            let isGiven = second.give(nil, to: world.socket.number)
            #expect(isTaken && isGiven)
            if case .all = try UnixSocket.waiting(Self.message.count, in: world.socket.number) {
                #expect(steps == 1)
                take(world, second, steps: 4)
            }
            let seen = try world.sees()
            #expect(seen == Self.reply, "round \(round)")
            guard case .less = try UnixSocket.waiting(1, in: world.socket.number) else {
                Issue.record("the message is still there")
                return
            }
        }
    }

    @Test func `goes on in the middle of a message and of an answer`() throws {
        let world = try World()
        _ = try UnixSocket.send(Self.message[...], to: world.host.number)
        let first = try #require(world.journal())
        take(world, first, steps: 2)
        let part = first.take(15, from: world.socket.number)
        #expect(part)
        let second = try #require(world.journal())
        let rest = second.take(Self.message.count, from: world.socket.number)
        let isGiven = second.give(nil, to: world.socket.number)
        #expect(rest && isGiven)
        #expect(try world.sees() == Self.reply)
    }

    @Test func `sends an answer with descriptors once the message is taken`() throws {
        let world = try World()
        _ = try UnixSocket.send(Self.message[...], to: world.host.number)
        let answer = HostAnswer(bytes: [1, 2, 3], files: [try UnixSocket.pair(.stream).0])
        let first = try #require(world.journal())
        let fits = first.begin(answer: answer.bytes)
        #expect(fits)
        world.record.write(Array("{}".utf8), message: (first.number, Self.message.count))
        for _ in 0..<2 {
            let next = try #require(world.journal())
            let isTaken = next.take(Self.message.count, from: world.socket.number)
            let isGiven = next.give(answer, to: world.socket.number)
            #expect(isTaken && isGiven)
        }
        let seen = try #require(try UnixSocket.receive(upTo: 100, from: world.host.number))
        #expect(seen.bytes == [1, 2, 3])
        #expect(seen.descriptors.count == 1)
    }

    @Test func `needs all its pipes`() throws {
        let world = try World()
        let journal = HostJournal(world.encoded, number: 0) { number in
            number == 5 ? nil : number.map { world.ends[Int($0)] }
        }
        #expect(journal == nil)
    }
}

@Suite struct `Record file` {
    private func written() throws -> RecordFile {
        let record = try RecordFile()
        record.write(Array(#"{"a":1}"#.utf8))
        record.write(Array(#"{"a":2}"#.utf8), message: (7, 40))
        return record
    }

    private func flip(_ offset: Int, of record: RecordFile) throws {
        let mapping = try Mapping(record.file.number, byteCount: 4096 + 2 * RecordFile.bodyLimit)
        mapping.bytes.store(
            mapping.bytes.load(UInt8.self, at: offset) ^ 4, at: offset)
    }

    @Test func `is what was written last`() throws {
        let found = try RecordFile(kept: try written().file)
        #expect(try found.body()["a"]?.unsigned == 2)
        #expect(found.mark.message == 7)
        #expect(found.mark.messageByteCount == 40)
        found.write(nil, message: (8, 20))
        let again = try RecordFile(kept: found.file)
        #expect(try again.body()["a"]?.unsigned == 2)
        #expect(again.mark.message == 8)
    }

    @Test func `is the one before when its writer was killed`() throws {
        let record = try written()
        // The mark and the body of a third write, without its last store.
        try flip(192, of: record)
        try flip(4096 + RecordFile.bodyLimit, of: record)
        #expect(try RecordFile(kept: record.file).body()["a"]?.unsigned == 2)
    }

    @Test(arguments: [0, 16, 64, 72, 80, 88, 96, 104, 112])
    func `is refused when a bit of it is another`(offset: Int) throws {
        let record = try written()
        try flip(offset, of: record)
        let error = #expect(throws: HardwareError.self) {
            try RecordFile(kept: record.file).body()
        }
        #expect(error?.code == ErrorNumber.invalid)
    }

    @Test func `is refused when a bit of its body is another`() throws {
        let record = try written()
        try flip(4096 + 2, of: record)
        let error = #expect(throws: HardwareError.self) {
            try RecordFile(kept: record.file).body()
        }
        #expect(error?.reason.contains("checksum") == true)
    }

    @Test func `is refused in another version, or cut off`() throws {
        let record = try written()
        try flip(8, of: record)
        let error = #expect(throws: HardwareError.self) { try RecordFile(kept: record.file) }
        #expect(error?.code == ErrorNumber.notSupported)
        let short = SharedDescriptor(try MemoryFile.create(name: "short", byteCount: 8192))
        #expect(throws: HardwareError.self) { try RecordFile(kept: short) }
        #expect(throws: HardwareError.self) { try RecordFile(kept: try RecordFile().file) }
    }
}
