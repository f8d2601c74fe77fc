internal import CPlatform
internal import Glibc

/// Files by path.
public enum FileSystem {
    public enum Access: Sendable {
        case read
        case readWrite
        /// Creates a missing file, cuts an existing one to nothing.
        case replace
        /// Creates a missing file, writes at its end.
        case append

        var flags: Int32 {
            switch self {
            case .read: O_RDONLY
            case .readWrite: O_RDWR
            case .replace: O_RDWR | O_CREAT | O_TRUNC
            case .append: O_WRONLY | O_CREAT | O_APPEND
            }
        }
    }

    /// Opens `path`. `direct` bypasses the page cache (open(2), O_DIRECT).
    public static func open(
        _ path: String, _ access: Access, direct: Bool = false
    ) throws(SystemError) -> FileDescriptor {
        return FileDescriptor(
            owning: try check(
                unsafe platform_open(path, access.flags, direct, 0o644), "open \(path)"))
    }

    /// Size and, for a block device, logical block size in bytes; 0 for a regular file.
    public static func geometry(
        of descriptor: Int32
    ) throws(SystemError) -> (byteCount: UInt64, blockByteCount: Int) {
        var size: UInt64 = 0
        var block: UInt32 = 0
        try check(unsafe platform_block_geometry(descriptor, &size, &block), "stat")
        return (size, Int(block))
    }

    public static func remove(_ path: String) throws(SystemError) {
        try check(unsafe unlink(path), "unlink \(path)")
    }

    public static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    public static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

    /// What a symbolic link points to.
    public static func target(of path: String) throws(SystemError) -> String {
        var name = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try check(unsafe readlink(path, &name, name.count), "readlink \(path)")
        return String(decoding: name.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Makes one directory, or changes nothing when it is there.
    public static func makeDirectory(_ path: String, mode: UInt32) throws(SystemError) {
        if unsafe mkdir(path, mode_t(mode)) < 0 && errno != EEXIST { throw .last("mkdir \(path)") }
    }

    public static func setMode(_ path: String, _ mode: UInt32) throws(SystemError) {
        try check(unsafe chmod(path, mode_t(mode)), "chmod \(path)")
    }

    /// The permission bits of `path`.
    public static func mode(of path: String) throws(SystemError) -> UInt32 {
        var facts = stat()
        try check(unsafe stat(path, &facts), "stat \(path)")
        return facts.st_mode & 0o7777
    }

    public static func setOwner(_ path: String, user: UInt32, group: UInt32) throws(SystemError) {
        try check(unsafe chown(path, user, group), "chown \(path)")
    }

    public static func rename(_ from: String, to: String) throws(SystemError) {
        try check(unsafe Glibc.rename(from, to), "rename \(from)")
    }

    /// The whole file; EFBIG when it holds more than `limit` bytes.
    public static func contents(of path: String, limit: Int) throws(SystemError) -> [UInt8] {
        let file = try open(path, .read)
        var bytes: [UInt8] = []
        while let part = try file.read(upTo: 65536), !part.isEmpty {
            bytes += part
            if bytes.count > limit { throw SystemError("read \(path)", code: EFBIG) }
        }
        return bytes
    }
}
