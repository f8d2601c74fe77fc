import Bdev
import Memory
import Platform

/// A file that goes away with its owner.
final class ScratchFile {
    let path: String
    let descriptor: FileDescriptor

    init(byteCount: Int) throws {
        path = "/var/tmp/softsnap-test-\(ProcessFacts.identifier)-\(UUID.random())"
        descriptor = try FileSystem.open(path, .replace)
        if byteCount > 0 { try resize(byteCount: byteCount) }
    }

    deinit { try? FileSystem.remove(path) }

    func resize(byteCount: Int) throws {
        try FileSystem.resize(descriptor.number, byteCount: UInt64(byteCount))
    }

    func backend(
        _ engine: KernelQueue.Kind, blockByteCount: Int? = 512,
        _ change: (inout FileBackend.Options) -> Void = { _ in }
    ) throws(BdevError) -> FileBackend {
        var options = FileBackend.Options(path: path, engine: engine)
        options.blockByteCount = blockByteCount
        change(&options)
        return try FileBackend(options)
    }

    /// Whether this machine lets us use `engine` at all.
    static func allows(_ engine: KernelQueue.Kind) -> Bool {
        guard let event = try? EventDescriptor.create() else { return false }
        return (try? KernelQueue(engine, capacity: 1, event: event.number)) != nil
    }
}

extension KernelQueue.Kind {
    /// Those that the kernel allows here.
    static var usable: [KernelQueue.Kind] { [.aio, .uring].filter(ScratchFile.allows) }
}

/// A reactor's sleep, by a real epoll.
final class SleepingSite {
    let epoll: Epoll

    init() throws { epoll = try Epoll() }

    var site: ChannelSite {
        ChannelSite(
            watch: { [self] in try? epoll.add($0, .edge, token: UInt64($0)) },
            unwatch: { [self] in epoll.remove($0) })
    }

    /// False: nothing came within a second. (io_uring ends the wait by EINTR when it finishes a
    /// request on this thread, so the tokens may be missing.)
    func sleep() -> Bool {
        let start = Clock.monotonicNanoseconds()
        _ = epoll.wait(nanoseconds: 1_000_000_000)
        return Clock.monotonicNanoseconds() - start < 900_000_000
    }
}
