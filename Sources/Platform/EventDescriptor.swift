internal import CPlatform
internal import Glibc

/// Raises an eventfd that a peer gave us, and drains ours (eventfd(2)).
public enum EventDescriptor {
    public static func create() throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try check(platform_event_create(), "eventfd"))
    }

    /// Adds one. Blocks while a blocking eventfd's counter is full.
    public static func signal(_ number: Int32) {
        var one: UInt64 = 1
        _ = unsafe write(number, &one, 8)
    }

    /// Whether a write would go through at once.
    public static func hasRoom(_ number: Int32) -> Bool {
        var entry = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0 && entry.revents & Int16(POLLOUT) != 0
    }

    /// Takes the whole count; 0 when there is none. Never waits, also when the owner of the eventfd
    /// left it blocking.
    @discardableResult
    public static func drain(_ number: Int32) -> UInt64 {
        platform_event_drain(number)
    }
}
