internal import CPlatform
internal import Glibc

/// Direct I/O and ranges of files by descriptor.
extension FileSystem {
    /// What direct I/O asks of memory addresses, and of offsets and lengths: powers of two.
    public static func directAlignment(
        of descriptor: Int32
    ) throws(SystemError) -> (address: Int, length: Int) {
        var address: UInt32 = 0
        var length: UInt32 = 0
        try check(unsafe platform_direct_alignment(descriptor, &address, &length), "statx")
        return (Int(address), Int(length))
    }

    /// Gives a range back to the file system or device; it reads as zeros then. May block long.
    public static func discard(
        _ descriptor: Int32, offset: UInt64, byteCount: UInt64
    ) throws(SystemError) {
        try check(platform_discard(descriptor, offset, byteCount), "fallocate(PUNCH_HOLE)")
    }

    /// Zeroes a range in place, by `discard` where the file system knows no other way. May block
    /// long.
    public static func zero(
        _ descriptor: Int32, offset: UInt64, byteCount: UInt64
    ) throws(SystemError) {
        if platform_zero_range(descriptor, offset, byteCount) == 0 { return }
        let error = SystemError.last("fallocate(ZERO_RANGE)")
        guard error.code == ErrorNumber.notSupported else { throw error }
        try discard(descriptor, offset: offset, byteCount: byteCount)
    }

    /// Cuts the file or lets it grow; what is new reads as zeros.
    public static func resize(_ descriptor: Int32, byteCount: UInt64) throws(SystemError) {
        try check(ftruncate(descriptor, off_t(byteCount)), "ftruncate")
    }
}
