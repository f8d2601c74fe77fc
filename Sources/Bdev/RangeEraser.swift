internal import Bounded
internal import Platform
internal import Synchronization

/// Unmaps and zeroes ranges of files on a thread of its own, because fallocate(2) blocks and Linux
/// AIO has no such operation.
///
/// One reactor gives it work and takes the results.
final class RangeEraser: Sendable {
    struct Work: BitwiseCopyable, Sendable {
        let slot: UInt32
        let descriptor: Int32
        let keepsSpace: Bool
        let offset: UInt64
        let byteCount: UInt64
    }

    struct Result: BitwiseCopyable, Sendable {
        let slot: UInt32
        /// 0 or a negated errno.
        let value: Int64
    }

    private let shared: Shared
    private let thread: Thread

    /// What both threads use.
    private final class Shared: Sendable {
        let work: HandoffQueue<Work>
        let results: HandoffQueue<Result>
        let wake: FileDescriptor
        let isStopping = Atomic<Bool>(false)

        init(capacity: Int) throws(SystemError) {
            work = HandoffQueue(capacity: capacity)
            results = HandoffQueue(capacity: capacity)
            wake = try EventDescriptor.create()
        }
    }

    /// - Parameters:
    ///   - capacity: the most ranges under way.
    ///   - event: an eventfd that each result signals; it outlives the eraser.
    init(capacity: Int, event: Int32) throws(SystemError) {
        let shared = try Shared(capacity: capacity)
        self.shared = shared
        thread = try Thread(name: "range-eraser") { RangeEraser.run(shared, event) }
    }

    deinit {
        shared.isStopping.store(true, ordering: .releasing)
        EventDescriptor.signal(shared.wake.number)
        thread.join()
    }

    /// One system call, when the thread has to be woken.
    func start(_ work: Work) {
        let fits = shared.work.give(work)
        precondition(fits, "more ranges than slots")
        EventDescriptor.signal(shared.wake.number)
    }

    func next() -> Result? { shared.results.take() }

    private static func run(_ shared: Shared, _ event: Int32) {
        while !shared.isStopping.load(ordering: .acquiring) {
            guard let work = shared.work.take() else {
                if UnixSocket.waitReadable(shared.wake.number, milliseconds: -1) {
                    EventDescriptor.drain(shared.wake.number)
                }
                continue
            }
            let fits = shared.results.give(Result(slot: work.slot, value: erase(work)))
            precondition(fits, "more ranges than slots")
            EventDescriptor.signal(event)
        }
    }

    private static func erase(_ work: Work) -> Int64 {
        do throws(SystemError) {
            if work.keepsSpace {
                try FileSystem.zero(
                    work.descriptor, offset: work.offset, byteCount: work.byteCount)
            } else {
                try FileSystem.discard(
                    work.descriptor, offset: work.offset, byteCount: work.byteCount)
            }
            return 0
        } catch {
            return -Int64(error.code)
        }
    }
}
