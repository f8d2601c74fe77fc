internal import CPlatform
internal import Glibc

/// An exclusive lock on a file that lasts as long as its owner, or its process, lives (flock(2)).
///
/// A process that was killed lives until its last request has left the kernel, which a slow disk
/// can take seconds to answer: whoever comes after it waits. The file names its holder.
public struct FileLock: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// Creates `path` with mode 0600 when it is missing and locks it. EAGAIN: somebody else has it,
    /// and goes on living.
    public init(path: String) throws(SystemError) {
        let number = unsafe platform_open(path, O_RDWR | O_CREAT, false, 0o600)
        let file = FileDescriptor(owning: try check(number, "open \(path)"))
        Self.waitForTheDying(path, file.number)
        try check(flock(file.number, LOCK_EX | LOCK_NB), "lock \(path)")
        // On a full disk nobody will wait for this process.
        _ = ftruncate(file.number, 0)
        try? file.write(Array("\(ProcessFacts.identifier)\n".utf8))
        descriptor = file
    }

    /// Returns when nobody holds the lock any more, or somebody who is not ending.
    private static func waitForTheDying(_ path: String, _ number: Int32) {
        var isWaiting = false
        while flock(number, LOCK_EX | LOCK_NB) < 0, let holder = holder(of: path),
            ProcessFacts.isEnding(holder)
        {
            if !isWaiting {
                ProcessFacts.complain("waiting for process \(holder), which was killed, to end")
            }
            isWaiting = true
            Clock.sleep(nanoseconds: 10_000_000)
        }
    }

    private static func holder(of path: String) -> Int32? {
        guard let bytes = try? FileSystem.contents(of: path, limit: 32) else { return nil }
        return Int32(String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self))
    }
}

/// Byte locks of open file descriptions: they last until the last request of the description has
/// left the kernel, even when its process is long gone (design, "Predecessor rule").
extension FileDescriptor {
    /// Takes the lock on `byte`. EAGAIN: another description holds it. `shared` is what a
    /// description that is open for reading only can take.
    public func lockByte(_ byte: UInt64, shared: Bool = false) throws(SystemError) {
        try check(platform_lock_byte(number, byte, !shared), "lock byte \(byte)")
    }

    /// Whether another open file description holds the lock on `byte`.
    public func isByteLocked(_ byte: UInt64) throws(SystemError) -> Bool {
        try check(platform_byte_is_locked(number, byte), "query lock of byte \(byte)") == 1
    }
}
