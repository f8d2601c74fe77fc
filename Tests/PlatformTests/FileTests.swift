import Platform
import Testing

/// A directory entry that goes away with its owner.
final class ScratchPath {
    let path: String

    init(_ name: String) {
        path = "/var/tmp/softsnap-\(name)-\(ProcessFacts.identifier)-\(Ticks.now().count)"
    }

    deinit { try? FileSystem.remove(path) }
}

@Suite struct `Files` {
    @Test func `lock a byte for as long as a description is open`() throws {
        let scratch = ScratchPath("lock")
        let first = try FileSystem.open(scratch.path, .replace)
        let second = try FileSystem.open(scratch.path, .readWrite)
        let reader = try FileSystem.open(scratch.path, .read)
        let byte: UInt64 = 1 << 62
        do {
            let holder = try FileSystem.open(scratch.path, .readWrite)
            try holder.lockByte(byte)
            #expect(try !holder.isByteLocked(byte))
            #expect(try first.isByteLocked(byte) && reader.isByteLocked(byte))
            #expect(try !first.isByteLocked(byte + 1))
            let error = #expect(throws: SystemError.self) { try second.lockByte(byte) }
            #expect(error?.code == ErrorNumber.again)
            // A duplicate keeps the description, and with it the lock, open.
            let duplicate = try holder.duplicate()
            #expect(try first.isByteLocked(byte))
            _ = duplicate.number
        }
        #expect(try !first.isByteLocked(byte))
        try reader.lockByte(byte, shared: true)
        #expect(try first.isByteLocked(byte))
    }

    @Test func `are locked whole by one holder`() throws {
        let scratch = ScratchPath("whole")
        let lock = try FileLock(path: scratch.path)
        let error = #expect(throws: SystemError.self) { _ = try FileLock(path: scratch.path) }
        #expect(error?.code == ErrorNumber.again)
        // Whoever comes next knows for whom to wait.
        let name = try FileSystem.contents(of: scratch.path, limit: 32)
        #expect(String(decoding: name, as: UTF8.self) == "\(ProcessFacts.identifier)\n")
        withExtendedLifetime(lock) {}
    }

    @Test func `give ranges back and read zeros there`() throws {
        let scratch = ScratchPath("range")
        let file = try FileSystem.open(scratch.path, .replace)
        try file.write(Array(repeating: 9, count: 12288))
        try FileSystem.discard(file.number, offset: 0, byteCount: 4096)
        try FileSystem.zero(file.number, offset: 8192, byteCount: 4096)
        let bytes = try FileSystem.contents(of: scratch.path, limit: 12288)
        #expect(bytes.count == 12288)
        #expect(bytes[..<4096].allSatisfy { $0 == 0 } && bytes[8192...].allSatisfy { $0 == 0 })
        #expect(bytes[4096..<8192].allSatisfy { $0 == 9 })
        #expect(throws: SystemError.self) {
            try FileSystem.contents(of: scratch.path, limit: 12287)
        }
    }

    @Test func `tell their size and what direct transfers ask`() throws {
        let scratch = ScratchPath("size")
        let file = try FileSystem.open(scratch.path, .replace)
        try FileSystem.resize(file.number, byteCount: 12345)
        let (byteCount, blockByteCount) = try FileSystem.geometry(of: file.number)
        #expect(byteCount == 12345 && blockByteCount == 0)
        let (address, length) = try FileSystem.directAlignment(of: file.number)
        for alignment in [address, length] {
            #expect(alignment > 0 && alignment & (alignment - 1) == 0 && alignment <= 65536)
        }
        let directory = try FileSystem.open("/tmp", .read)
        #expect(throws: SystemError.self) { try FileSystem.geometry(of: directory.number) }
    }
}

@Suite struct `Sleep on descriptors` {
    @Test func `tells an edge once and a level until it is drained`() throws {
        let epoll = try Epoll()
        let edge = try EventDescriptor.create()
        let level = try EventDescriptor.create()
        try epoll.add(edge.number, .edge, token: 1)
        try epoll.add(level.number, .readable, token: 2)
        #expect(epoll.wait(nanoseconds: 0).isEmpty)
        EventDescriptor.signal(edge.number)
        EventDescriptor.signal(level.number)
        #expect(Set(epoll.wait(nanoseconds: 0)) == [1, 2])
        #expect(epoll.wait(nanoseconds: 0) == [2])
        EventDescriptor.signal(edge.number)
        #expect(Set(epoll.wait(nanoseconds: 0)) == [1, 2])
        EventDescriptor.drain(level.number)
        #expect(epoll.wait(nanoseconds: 0).isEmpty)
        epoll.remove(edge.number)
        EventDescriptor.signal(edge.number)
        #expect(epoll.wait(nanoseconds: 0).isEmpty)
    }
}

@Suite struct `Tick counter` {
    @Test func `convert to time and back`() {
        for nanoseconds in [0, 1_000, 1_000_000, 3_600_000_000_000] as [UInt64] {
            let back = Ticks.nanoseconds(from: Ticks.from(nanoseconds: nanoseconds))
            #expect(nanoseconds - min(back, nanoseconds) <= 1 + nanoseconds / 1_000_000)
        }
    }

    @Test func `never run backwards`() {
        let start = Ticks.now()
        #expect(start.since(start.advanced(by: 5)) == 0)
        #expect(start.advanced(by: 5).since(start) == 5)
        #expect(Ticks.now() >= start)
    }
}
