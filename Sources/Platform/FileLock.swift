internal import CPlatform
internal import Glibc

/// An exclusive lock on a file that lasts as long as its owner, or its process, lives (flock(2)).
public struct FileLock: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// Creates `path` with mode 0600 when it is missing and locks it. EAGAIN: somebody else has it.
    public init(path: String) throws(SystemError) {
        let number = unsafe platform_open(path, O_RDWR | O_CREAT, false, 0o600)
        let file = FileDescriptor(owning: try check(number, "open \(path)"))
        try check(flock(file.number, LOCK_EX | LOCK_NB), "lock \(path)")
        descriptor = file
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
