internal import CPlatform
internal import Glibc

/// A thread of its own, for a loop that blocks or polls.
@safe
public final class Thread: @unchecked Sendable {
    // Sendable: `handle` is written before init returns and read by `join` only.
    private var handle = pthread_t()

    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts `body` on a new thread called `name` (15 bytes are shown).
    public init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let start = Start(name: name, body: body)
        let argument = unsafe Unmanaged.passRetained(start).toOpaque()
        let result = unsafe pthread_create(
            &handle, nil,
            { argument in
                let start = unsafe Unmanaged<Start>.fromOpaque(argument.unsafelyUnwrapped)
                    .takeRetainedValue()
                unsafe platform_name_thread(start.name)
                start.body()
                return nil
            }, argument)
        if result != 0 {
            unsafe Unmanaged<Start>.fromOpaque(argument).release()
            throw SystemError("pthread_create", code: result)
        }
    }

    /// Waits for the thread to end.
    public func join() { pthread_join(handle, nil) }

    /// Keeps the calling thread on `processor`.
    public static func pin(to processor: Int) throws(SystemError) {
        try check(platform_pin_thread(Int32(processor)), "pin to processor \(processor)")
    }

    /// Lets others have the processor of the calling thread.
    public static func yield() { sched_yield() }

    /// The kernel's id of the calling thread.
    public static var currentID: Int32 { platform_thread_id() }
}

/// The processors that this process may use.
public enum Processors {
    public static func isUsable(_ processor: Int) -> Bool {
        platform_processor_is_usable(Int32(processor)) == 1
    }
}
