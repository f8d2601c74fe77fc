internal import CPlatform
internal import Glibc

/// A shared mapping of a memory file, unmapped with its last holder.
///
/// The file may belong to a peer that shrinks it: accesses then read zeros, writes are lost and
/// `isDead` turns true, which whoever uses the mapping checks once a turn (design, "Host memory is
/// not ours").
@safe
public final class Mapping: @unchecked Sendable {
    // Sendable: immutable after init; what is behind `base` is shared memory with its own rules.
    private let base: UnsafeMutableRawPointer
    public let byteCount: Int
    private let deadFlag: UnsafePointer<UInt32>

    /// Files on huge pages can be mapped from multiples of this only, and others too.
    private static let granule: UInt64 = 2 << 20

    /// What to map to reach `byteCount` bytes at any `offset` of a file, and how far inside they
    /// are.
    public static func span(
        at offset: UInt64, byteCount: UInt64
    ) -> (offset: UInt64, byteCount: UInt64, inside: Int) {
        let start = offset & ~(granule - 1)
        let inside = offset - start
        return (start, inside + byteCount, Int(inside))
    }

    /// Maps `byteCount` bytes of `descriptor` from `offset` (a multiple of the page size).
    public init(_ descriptor: Int32, offset: UInt64 = 0, byteCount: Int) throws(SystemError) {
        memory_guard_install()
        let address = unsafe mmap(
            nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor,
            off_t(offset))
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw .last("mmap of \(byteCount) bytes")
        }
        guard let flag = unsafe memory_guard_watch(address, byteCount) else {
            unsafe munmap(address, byteCount)
            throw SystemError("mmap: too many mappings", code: ENOMEM)
        }
        unsafe base = address
        unsafe deadFlag = UnsafePointer(flag)
        self.byteCount = byteCount
    }

    deinit {
        unsafe memory_guard_unwatch(deadFlag)
        unsafe munmap(base, byteCount)
    }

    /// Allocates every page now, on a thread of its own. ENOMEM or EFAULT: there is no room for
    /// them all.
    public func populate() async throws(SystemError) {
        let code: Int32 = await withCheckedContinuation { continuation in
            do throws(SystemError) {
                _ = try Thread(name: "populate") { [self] in
                    let result = unsafe platform_populate(base, byteCount)
                    continuation.resume(returning: result < 0 ? errno : 0)
                }
            } catch { continuation.resume(returning: error.code) }
        }
        if code != 0 { throw SystemError("populate \(byteCount) bytes", code: code) }
    }

    /// Whether part of the file has gone away under the mapping.
    public var isDead: Bool { unsafe deadFlag.pointee != 0 }

    /// First byte. Valid while the mapping lives; access goes through `Memory`'s checked views.
    @unsafe public var address: UnsafeMutableRawPointer { unsafe base }
}
