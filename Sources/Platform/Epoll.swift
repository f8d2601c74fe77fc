internal import CPlatform
internal import Glibc

/// A set of descriptors to sleep on (epoll(7)). Used by one thread.
public struct Epoll: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    public enum Interest: Sendable {
        case readable
        case writable
        case readableAndWritable
        /// Readable, told once per change: nobody has to drain the descriptor.
        case edge
        /// Hang-ups only.
        case nothing

        var mask: UInt32 {
            switch self {
            case .readable: UInt32(PLATFORM_READABLE)
            case .writable: UInt32(PLATFORM_WRITABLE)
            case .readableAndWritable: UInt32(PLATFORM_READABLE | PLATFORM_WRITABLE)
            case .edge: UInt32(PLATFORM_READABLE | PLATFORM_EDGE)
            case .nothing: 0
            }
        }
    }

    public init() throws(SystemError) {
        descriptor = FileDescriptor(
            owning: try check(platform_epoll_create(), "epoll_create1"))
    }

    public func add(_ number: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try check(platform_epoll_add(descriptor.number, number, interest.mask, token), "epoll add")
    }

    public func modify(_ number: Int32, _ interest: Interest, token: UInt64) throws(SystemError) {
        try check(
            platform_epoll_modify(descriptor.number, number, interest.mask, token), "epoll modify")
    }

    public func remove(_ number: Int32) {
        _ = platform_epoll_remove(descriptor.number, number)
    }

    /// Tokens of the descriptors that are ready, at most 64; empty after `nanoseconds`.
    /// Nil waits for ever.
    public func wait(nanoseconds: Int64?) -> [UInt64] {
        var tokens = [UInt64](repeating: 0, count: 64)
        let count = unsafe platform_epoll_wait(descriptor.number, &tokens, 64, nanoseconds ?? -1)
        if count < 0 { return [] }
        tokens.removeLast(64 - Int(count))
        return tokens
    }

    /// As `wait`, into storage of the caller: no allocation.
    public func wait(into tokens: inout EpollTokens, nanoseconds: Int64?) {
        tokens.wait(on: descriptor.number, nanoseconds: nanoseconds ?? -1)
    }
}

/// Room for the tokens of one wait.
@safe
public struct EpollTokens: ~Copyable {
    private static let capacity = 64
    private let storage: UnsafeMutablePointer<UInt64>
    public private(set) var count = 0
    /// Whether the wait was cut short by the kernel: io_uring ends a sleep like that.
    public private(set) var wasInterrupted = false

    public init() {
        unsafe storage = .allocate(capacity: EpollTokens.capacity)
    }

    deinit { unsafe storage.deallocate() }

    public subscript(index: Int) -> UInt64 {
        precondition(index >= 0 && index < count)
        return unsafe storage[index]
    }

    mutating func wait(on epoll: Int32, nanoseconds: Int64) {
        let ready = unsafe platform_epoll_wait(
            epoll, storage, Int32(EpollTokens.capacity), nanoseconds)
        count = max(0, Int(ready))
        wasInterrupted = ready < 0
    }
}
