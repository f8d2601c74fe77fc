internal import CPlatform
internal import Glibc

/// One open descriptor, closed when its owner lets go of it.
public struct FileDescriptor: ~Copyable, Sendable {
    /// The number, valid while this value lives.
    public let number: Int32

    /// Takes ownership of `number`.
    public init(owning number: Int32) {
        precondition(number >= 0, "a descriptor is not negative")
        self.number = number
    }

    deinit { _ = close(number) }

    /// A second descriptor of the same open file description.
    public func duplicate() throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try check(fcntl(number, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    /// As above, with a number of at least `least`.
    public func duplicate(above least: Int32) throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try check(fcntl(number, F_DUPFD_CLOEXEC, least), "dup"))
    }

    /// Gives the number away; the caller closes it.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    public func setNonBlocking() throws(SystemError) {
        try check(platform_set_nonblocking(number), "fcntl(O_NONBLOCK)")
    }

    /// Puts a file's bytes, or a directory's entries, on the medium (fsync(2)).
    public func sync() throws(SystemError) { try check(fsync(number), "fsync") }

    /// Whether this is an eventfd: what a kick, a call and an interrupt must be.
    public var isEvent: Bool { platform_is_eventfd(number) }

    /// Size of a memfd, tmpfs or hugetlbfs file; nil for anything else (its memory could be
    /// withdrawn or stalled by a file system in user space).
    public var sharedMemoryByteCount: UInt64? {
        var size: UInt64 = 0
        return unsafe platform_is_shared_memory(number, &size) ? size : nil
    }

    /// What /proc calls the descriptor, for messages: "socket:[1234]".
    public var kindName: String {
        var name = [CChar](repeating: 0, count: 256)
        let count = unsafe platform_descriptor_name(number, &name, name.count)
        return String(
            decoding: name.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Reads at most `byteCount` bytes from the current position; nil when it would block.
    public func read(upTo byteCount: Int) throws(SystemError) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        let count = unsafe Glibc.read(number, &bytes, byteCount)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return nil }
        try check(count, "read")
        bytes.removeLast(byteCount - count)
        return bytes
    }

    /// Writes `bytes` at `offset`, all of them.
    public func write(_ bytes: [UInt8], at offset: UInt64 = 0) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe pwrite(
                    number, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done,
                    off_t(offset) + off_t(done))
            }
            done += try check(count, "write")
        }
    }
}

/// A descriptor with several holders; closed with the last of them.
public final class SharedDescriptor: Sendable {
    private let descriptor: FileDescriptor

    public init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

    public var number: Int32 { descriptor.number }
    public var isEvent: Bool { descriptor.isEvent }
    public var sharedMemoryByteCount: UInt64? { descriptor.sharedMemoryByteCount }
    public var kindName: String { descriptor.kindName }

    public func duplicate() throws(SystemError) -> FileDescriptor { try descriptor.duplicate() }
}

/// Which file a descriptor is open on, whoever opened it.
public struct FileIdentity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
}

extension SharedDescriptor {
    public func identity() throws(SystemError) -> FileIdentity {
        var facts = stat()
        try check(unsafe fstat(number, &facts), "fstat")
        return FileIdentity(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino))
    }
}
