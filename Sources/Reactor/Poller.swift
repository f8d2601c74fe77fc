public import Platform

/// Something a reactor polls: a queue. Confined to the reactor's thread.
public protocol Poller: AnyObject {
    /// Does a bounded amount of work. Does not allocate, lock, block or log.
    /// - Returns: how much was done; 0 means idle.
    func poll(now: Ticks) -> Int

    /// Whether requests are under way: then only a device can end the quiet, and rarely soon.
    var isWaiting: Bool { get }

    /// Asks the other side for events before the poller is left alone.
    func arm() -> Rest

    /// The opposite: it is polled again.
    func disarm()

    /// It was woken, by an event or by the control plane, hot or not.
    func kicked()

    /// When to poll again without an event; nil when only an event matters.
    var wakeTime: Ticks? { get }

    /// At its time: whether a turn is worth while. False leaves it alone until its next time, which
    /// then lies ahead. Costs a few loads.
    func look(now: Ticks) -> Bool

    /// The eventfd that says there is new work; nil when there is none.
    var kickDescriptor: Int32? { get }
}

extension Poller {
    public func look(now: Ticks) -> Bool { true }
    public func kicked() {}
}

/// Whether a poller can be left alone.
public enum Rest: Sendable {
    /// Work arrived meanwhile: keep polling.
    case working
    /// Nothing to do until a kick.
    case idle
    /// Requests are under way: a device's completion event matters too.
    case waiting
}

/// Names a poller on its reactor.
public struct PollerID: Hashable, Sendable {
    let value: UInt32
}
