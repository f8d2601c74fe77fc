internal import CPlatform
internal import Glibc

/// A reading of the processor's tick counter: monotonic, the same on every core, cheap.
public struct Ticks: BitwiseCopyable, Comparable, Sendable {
    public let count: UInt64

    public init(_ count: UInt64) { self.count = count }

    public static func now() -> Ticks { Ticks(platform_ticks()) }

    public static func < (a: Ticks, b: Ticks) -> Bool { a.count < b.count }
    /// Ticks from `start` to this reading; 0 when it lies before.
    public func since(_ start: Ticks) -> UInt64 {
        count > start.count ? count &- start.count : 0
    }
    public func advanced(by ticks: UInt64) -> Ticks { Ticks(count &+ ticks) }

    /// Ticks in a second, measured once against CLOCK_MONOTONIC over 20 ms.
    public static let perSecond = TickRate.measure(
        ticks: platform_ticks, nanoseconds: Clock.monotonicNanoseconds)

    public static func from(nanoseconds: UInt64) -> UInt64 {
        let product = nanoseconds.multipliedFullWidth(by: perSecond)
        return (1_000_000_000 as UInt64).dividingFullWidth(product).quotient
    }

    public static func nanoseconds(from ticks: UInt64) -> UInt64 {
        let product = ticks.multipliedFullWidth(by: 1_000_000_000)
        return perSecond.dividingFullWidth(product).quotient
    }
}

public enum Clock {
    public static func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    public static func wallSeconds() -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec)
    }

    /// Processor time that the calling thread has used.
    public static func threadNanoseconds() -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    public static func sleep(nanoseconds: UInt64) {
        var time = timespec(
            tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        unsafe nanosleep(&time, nil)
    }
}

/// Tells the processor that this is a spin loop.
public func relaxProcessor() { platform_relax() }
