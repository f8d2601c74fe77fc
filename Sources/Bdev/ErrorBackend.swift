public import Platform
internal import Synchronization

/// A fault that an error disk is told to make.
public struct ErrorInjection: Equatable, Sendable {
    public enum Fault: Equatable, Sendable {
        /// The request fails at once.
        case failure
        /// The request never ends, until it is abandoned or the injection is cleared.
        case pending
        /// The byte at `offset` of the data is XORed with `value`: of a read after it, of a write
        /// on its way to the base.
        case corruptData(offset: UInt64, value: UInt8)
        /// The device has no room for the request, which is offered again.
        case noMemory
    }

    public var fault: Fault
    /// How many requests it hits.
    public var count: UInt32
    /// Hits only while this many requests are under way on the channel; 0: always.
    public var queueDepth: UInt64

    /// EINVAL: a corrupted byte that stays as it is.
    public init(_ fault: Fault, count: UInt32 = 1, queueDepth: UInt64 = 0) throws(BdevError) {
        if case .corruptData(_, value: 0) = fault {
            throw .invalid("corrupt_value 0 changes nothing")
        }
        self.fault = fault
        self.count = count
        self.queueDepth = queueDepth
    }
}

/// Passes requests on to its base, except those it has been told to spoil.
public final class ErrorBackend: Backend {
    public let productName = "Error Injection Disk"
    public let base: BlockDevice
    /// One for each operation, by its raw value.
    private let faults: [FaultCell]
    /// Moves on when injections are cleared: pending requests end then.
    let clearEpoch = Atomic<UInt64>(0)

    public init(_ base: BlockDevice) {
        self.base = base
        faults = BlockOperation.allCases.map { _ in FaultCell() }
    }

    public var geometry: BlockGeometry { base.geometry }
    public var isReadOnly: Bool { base.backend.isReadOnly }
    public func supports(_ operation: BlockOperation) -> Bool { base.backend.supports(operation) }

    /// Spoils the next `count` requests of `operation`; of every operation when nil.
    public func inject(_ injection: ErrorInjection, into operation: BlockOperation? = nil) {
        for target in BlockOperation.allCases where operation == nil || operation == target {
            faults[Int(target.rawValue)].set(injection)
        }
    }

    /// How many more requests of `operation` its injection is going to hit.
    public func remaining(_ operation: BlockOperation) -> UInt32 {
        faults[Int(operation.rawValue)].remaining
    }

    /// Ends every injection; pending requests fail.
    public func clear() {
        for cell in faults { cell.clear() }
        clearEpoch.add(1, ordering: .relaxed)
    }

    /// Whether `draw` has a fault for such a request.
    func hits(_ operation: BlockOperation, outstanding: Int) -> Bool {
        faults[Int(operation.rawValue)].hits(outstanding: outstanding)
    }

    /// The fault that this request suffers, which is then used up.
    func draw(_ operation: BlockOperation, outstanding: Int) -> ErrorInjection.Fault? {
        faults[Int(operation.rawValue)].draw(outstanding: outstanding)
    }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        try ErrorChannel(self, try base.openChannel(depth: depth, at: site))
    }

    public func hold(for holder: UInt64) throws(SystemError) { try base.backend.hold(for: holder) }
    public func isHeld(by holder: UInt64) throws(SystemError) -> Bool {
        try base.backend.isHeld(by: holder)
    }
}

/// The injection for one operation, in words that the data plane reads without a lock. Written in
/// the order parameters, then count; a request that comes in between sees the old or the new fault.
private final class FaultCell: Sendable {
    private let left = Atomic<UInt32>(0)
    /// Fault kind, corrupted value and queue depth, packed.
    private let shape = Atomic<UInt64>(0)
    private let corruptOffset = Atomic<UInt64>(0)

    func set(_ injection: ErrorInjection) {
        left.store(0, ordering: .relaxed)
        var packed = min(injection.queueDepth, UInt64(UInt32.max)) << 16
        switch injection.fault {
        case .failure: packed |= 0
        case .pending: packed |= 1
        case .corruptData(let offset, let value):
            packed |= 2 | UInt64(value) << 8
            corruptOffset.store(offset, ordering: .relaxed)
        case .noMemory: packed |= 3
        }
        shape.store(packed, ordering: .relaxed)
        // Pairs with the acquiring loads in `hits` and `draw`.
        left.store(injection.count, ordering: .releasing)
    }

    func clear() { left.store(0, ordering: .relaxed) }

    var remaining: UInt32 { left.load(ordering: .acquiring) }

    func hits(outstanding: Int) -> Bool {
        if left.load(ordering: .acquiring) == 0 { return false }
        return UInt64(outstanding) >= shape.load(ordering: .relaxed) >> 16
    }

    func draw(outstanding: Int) -> ErrorInjection.Fault? {
        if !hits(outstanding: outstanding) { return nil }
        var count = left.load(ordering: .acquiring)
        while true {
            if count == 0 { return nil }
            let (done, found) = left.weakCompareExchange(
                expected: count, desired: count - 1, ordering: .acquiring)
            if done { break }
            count = found
        }
        let packed = shape.load(ordering: .relaxed)
        switch packed & 0xFF {
        case 0: return .failure
        case 1: return .pending
        case 2:
            return .corruptData(
                offset: corruptOffset.load(ordering: .relaxed),
                value: UInt8(truncatingIfNeeded: packed >> 8))
        default: return .noMemory
        }
    }
}
