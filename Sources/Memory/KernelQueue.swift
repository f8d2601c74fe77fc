internal import CLinuxAIO
internal import Glibc
public import Platform

/// Asynchronous file I/O of one thread: Linux AIO or io_uring, used the same way.
///
/// Operations are prepared, handed to the kernel together by `submit`, and taken back one by one.
/// Each is named by a slot below `capacity`, in use from its preparation until its result is taken.
@safe
public struct KernelQueue: ~Copyable {
    public enum Kind: Sendable {
        /// io_submit(2).
        case aio
        /// io_uring_enter(2).
        case uring
    }

    /// How an operation ended: bytes done, or a negated errno.
    public struct Result: BitwiseCopyable, Sendable {
        public let slot: UInt32
        public let value: Int64
    }

    public let capacity: Int
    private let queue: OpaquePointer

    /// - Parameter event: an eventfd that each completion signals; it outlives the queue.
    public init(_ kind: Kind, capacity: Int, event: Int32) throws(SystemError) {
        var made: OpaquePointer?
        let code: Int32 =
            switch kind {
            case .aio:
                unsafe kernel_queue_open(KERNEL_QUEUE_AIO, UInt32(capacity), event, &made)
            case .uring:
                unsafe kernel_queue_open(KERNEL_QUEUE_URING, UInt32(capacity), event, &made)
            }
        guard code == 0, let made = unsafe made else {
            throw SystemError(KernelQueue.refusal(kind, errno), code: errno)
        }
        unsafe queue = made
        self.capacity = capacity
    }

    deinit { unsafe kernel_queue_close(queue) }

    private static func refusal(_ kind: Kind, _ code: Int32) -> String {
        switch (kind, code) {
        case (.aio, EAGAIN): "io_setup: fs.aio-max-nr is used up"
        case (.aio, _): "io_setup"
        case (.uring, EPERM): "io_uring_setup: kernel.io_uring_disabled or a seccomp profile"
        case (.uring, ENOSYS): "io_uring_setup: the kernel has no io_uring, or one before 5.5"
        case (.uring, _): "io_uring_setup"
        }
    }

    /// Reads or writes at byte `offset` of `descriptor`. The list stays as it is until `submit`,
    /// the memory until the result is taken.
    public func prepareTransfer(
        _ slot: UInt32, isWrite: Bool, _ descriptor: Int32, _ segments: SegmentList,
        at offset: UInt64
    ) {
        precondition(slot < capacity)
        // A segment is laid out as an iovec.
        unsafe segments.pointer.withMemoryRebound(to: iovec.self, capacity: segments.count) {
            unsafe kernel_queue_transfer(
                queue, slot, isWrite, descriptor, $0, UInt32(segments.count), offset)
        }
    }

    /// As above, for one run of bytes.
    public func prepareTransfer(
        _ slot: UInt32, isWrite: Bool, _ descriptor: Int32, _ segment: HostSegment,
        at offset: UInt64
    ) {
        precondition(slot < capacity)
        var part = unsafe iovec(iov_base: segment.pointer, iov_len: segment.byteCount)
        unsafe kernel_queue_transfer(queue, slot, isWrite, descriptor, &part, 1, offset)
    }

    /// Makes what has been written durable (fdatasync(2)).
    public func prepareSync(_ slot: UInt32, _ descriptor: Int32) {
        precondition(slot < capacity)
        unsafe kernel_queue_sync(queue, slot, descriptor)
    }

    /// Hands over all that is prepared; what the kernel has no room for stays prepared.
    ///
    /// - Parameter underWay: operations of before that have no result yet. The more there are, the
    ///   fewer calls it takes.
    public func submit(underWay: Int = 0) {
        unsafe kernel_queue_submit(queue, UInt32(clamping: underWay))
    }

    public var hasPrepared: Bool { preparedCount > 0 }

    /// Operations that `submit` would hand over.
    public var preparedCount: Int { unsafe Int(kernel_queue_prepared(queue)) }

    /// The next result; nil when there is none.
    public func reap() -> Result? {
        var slot: UInt32 = 0
        var value: Int64 = 0
        let isThere = unsafe kernel_queue_reap(queue, &slot, &value)
        if !isThere { return nil }
        precondition(slot < capacity)
        return Result(slot: slot, value: value)
    }
}
