internal import Platform
internal import Synchronization

/// Upper bounds on what a device does in a second; 0 means none.
public struct RateLimits: Equatable, Sendable {
    /// Reads and writes together; a multiple of 1000.
    public var requestsPerSecond: UInt64 = 0
    public var mebibytesPerSecond: UInt64 = 0
    public var readMebibytesPerSecond: UInt64 = 0
    public var writeMebibytesPerSecond: UInt64 = 0

    public init() {}

    /// The next multiple of 1000, as SPDK rounds request rates.
    public static func rounded(requestsPerSecond rate: UInt64) -> UInt64 {
        let steps = rate / 1000 + (rate % 1000 == 0 ? 0 : 1)
        return steps.multipliedReportingOverflow(by: 1000).overflow ? rate : steps * 1000
    }

    var areUnlimited: Bool { self == RateLimits() }
}

/// Paces the requests of all channels of a device, without a lock.
///
/// Each limit is a meter of virtual time: a request moves it forward by its cost, and starts when
/// the meter is at most one slice ahead of the clock. A request that has to wait has paid already,
/// so its turn comes at a known time, whatever the other channels do.
final class RateLimiter: Sendable {
    /// False: nothing is limited, nobody calls `charge`.
    let isActive = Atomic<Bool>(false)
    /// Changes with the limits; what was computed before is void.
    let generation = Atomic<UInt64>(0)
    private let current = Mutex(RateLimits())
    private let requests = Meter()
    private let bytes = Meter()
    private let readBytes = Meter()
    private let writeBytes = Meter()

    /// How far ahead of the clock a meter may run: a millisecond, as in SPDK.
    let sliceTicks = Ticks.perSecond / 1000

    var limits: RateLimits {
        get { current.withLock { $0 } }
        set {
            current.withLock { limits in
                limits = newValue
                limits.requestsPerSecond = RateLimits.rounded(
                    requestsPerSecond: newValue.requestsPerSecond)
                requests.set(unitsPerSecond: limits.requestsPerSecond)
                bytes.set(mebibytesPerSecond: limits.mebibytesPerSecond)
                readBytes.set(mebibytesPerSecond: limits.readMebibytesPerSecond)
                writeBytes.set(mebibytesPerSecond: limits.writeMebibytesPerSecond)
                isActive.store(!limits.areUnlimited, ordering: .relaxed)
                generation.add(1, ordering: .relaxed)
            }
        }
    }

    /// Pays for one request.
    /// - Returns: when it may start; not after `now` when at once.
    func charge(_ operation: BlockOperation, byteCount: UInt64, now: Ticks) -> Ticks {
        guard operation == .read || operation == .write else { return now }
        var meter = max(
            requests.advance(by: 1, now: now.count),
            bytes.advance(by: byteCount, now: now.count))
        if operation == .read {
            meter = max(meter, readBytes.advance(by: byteCount, now: now.count))
        } else {
            meter = max(meter, writeBytes.advance(by: byteCount, now: now.count))
        }
        return Ticks(meter > sliceTicks ? meter &- sliceTicks : 0)
    }
}

/// The virtual clock of one limit.
private struct Meter: ~Copyable, Sendable {
    /// Ticks that one unit costs, with 32 fraction bits; 0 when there is no limit.
    private let cost = Atomic<UInt64>(0)
    private let reading = Atomic<UInt64>(0)

    func set(mebibytesPerSecond rate: UInt64) {
        let (bytes, overflow) = rate.multipliedReportingOverflow(by: 1 << 20)
        set(unitsPerSecond: overflow ? .max : bytes)
    }

    func set(unitsPerSecond rate: UInt64) {
        var ticks: UInt64 = 0
        if rate > 0 {
            let product = Ticks.perSecond.multipliedFullWidth(by: 1 << 32)
            ticks = product.high < rate ? rate.dividingFullWidth(product).quotient : .max
        }
        reading.store(0, ordering: .relaxed)
        cost.store(ticks, ordering: .relaxed)
    }

    /// - Returns: the reading before, which says when this request's turn is.
    func advance(by units: UInt64, now: UInt64) -> UInt64 {
        let cost = cost.load(ordering: .relaxed)
        if cost == 0 { return 0 }
        let product = cost.multipliedFullWidth(by: units)
        let ticks = product.high << 32 | product.low >> 32
        var old = reading.load(ordering: .relaxed)
        while true {
            let (done, found) = reading.weakCompareExchange(
                expected: old, desired: max(old, now) &+ ticks, ordering: .relaxed)
            if done { return old }
            old = found
        }
    }
}
