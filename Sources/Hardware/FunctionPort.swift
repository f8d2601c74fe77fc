public import Platform

/// Whether a lease drives its function now.
public enum LeaseStanding: Equatable, Sendable {
    /// It waits for the function: its service sees the states and touches nothing.
    case standby
    /// It drives it, after these holders, whose requests may still be under way.
    case serving(after: [UInt64])
}

/// What a lease on a function gives. Ends with `close`, or when the holder dies.
public protocol FunctionPort: Sendable {
    var identity: FunctionIdentity { get }
    /// Number of this lease, unique among those of its manager.
    var lease: UInt64 { get }
    /// This service, as named in the byte locks on its files.
    var holder: UInt64 { get }
    /// Holders whose requests may still be under way (design, "Predecessor rule").
    var predecessors: [UInt64] { get }
    var functionMemory: SharedDescriptor { get }
    var hostSocketPath: String { get }
    /// Whether it was opened as the standby lease behind another service's. Its states say when it
    /// serves (`standing`).
    var startsAsStandby: Bool { get }
    /// The controller that the lease was handed over to; nil while it was not.
    var successor: String? { get }

    /// The controller whose lease stands by behind this one; nil when none does. EAGAIN when that
    /// one is not ready.
    func listener() async throws(HardwareError) -> String?
    /// Gives the serving lease to the one that stands by, in one step: nothing of the holder may
    /// be under way. EINVAL when that one no longer fits what the driver has negotiated.
    /// - Parameter offering: when none stands by, the first that does gets it at once.
    /// - Returns: the new holder's controller; nil when none stands by.
    func handOver(offering: Bool) async throws(HardwareError) -> String?
    /// Takes an offer back.
    /// - Returns: the controller that has taken it already; nil when this lease still serves.
    func withdrawOffer() async throws(HardwareError) -> String?
    /// Says why a standby lease cannot take the function yet; nil when it can. Until then the
    /// holder's hand-over is refused with this reason. Returns when the hardware knows.
    func setObstacle(_ reason: String?) async
    /// Ends the wait of a standby lease.
    /// - Returns: false when it serves already.
    func stopStandingBy() async throws(HardwareError) -> Bool
    /// What becomes of the way to the hardware while the lease lasts. Ends with it.
    var linkChanges: AsyncStream<LinkChange> { get }

    /// Whether the lease may be given back now. Unless `force`, EBUSY for a PF with VF controllers
    /// and for a VF that the host has enabled.
    func checkClose(force: Bool) async throws(HardwareError)

    /// Gives the lease back.
    /// - Parameter releasesVectors: a VF's vectors go back to its PF's pool.
    func close(releasesVectors: Bool) async
}

/// What becomes of the way to the hardware.
public enum LinkChange: Sendable {
    /// The hardware cannot be reached: whoever drives the function finishes what is under way, and
    /// then leaves rings and interrupts alone.
    case lost
    /// It can be again, under the same lease; the function's state follows anew.
    case regained
    /// Somebody else has the function now, or nobody can: the lease is over.
    case refused(String)
}

/// A lease on a virtio function.
public protocol VirtioFunctionPort: FunctionPort {
    /// What the host wants, the latest state only: a newer one makes an older one pointless. Ends
    /// when the lease does.
    var states: AsyncStream<VirtioFunctionState> { get }

    /// Says that everything up to `generation` is done: what was to stop has stopped, and nothing
    /// of it can reach host memory any more. `bases` gives each stopped queue's next position as
    /// GET_VRING_BASE reports it.
    func acknowledge(generation: UInt64, bases: [Int: UInt32])

    /// New configuration space; the driver gets a configuration change interrupt.
    func update(configuration: [UInt8])

    /// A queue cannot go on: the device needs a reset.
    func fail(queue: Int, reason: String)
}

/// A lease on an NVMe function.
public protocol NVMeFunctionPort: FunctionPort {
    /// As those of a virtio function.
    var states: AsyncStream<NVMeFunctionState> { get }
    /// Memory file of the doorbells, four bytes each from `DoorbellPage.offset` on: queue n's
    /// submission tail at 8n, its completion head at 8n + 4 (CAP.DSTRD 0).
    var doorbells: SharedDescriptor { get }
    var doorbellMode: DoorbellMode { get }
    /// Eventfds by queue identifier, the admin queue's first: signalled after a store to one of the
    /// queue's doorbells that the hardware has seen.
    var kicks: [SharedDescriptor] { get }
    /// Whether the function is another machine's: what stands here for its memory, its doorbells
    /// and its kicks says nothing, and all of them are reached as `NVMeFunctionState.remote` says.
    var isFar: Bool { get }
    /// How often the link to it has ended: keys of an earlier link are nobody's.
    var lossCount: Int { get }

    /// Says that everything up to `generation` is done, as `VirtioFunctionPort.acknowledge`.
    /// - Parameter status: CSTS as the host shall read it from now on.
    func acknowledge(generation: UInt64, status: UInt32)

    /// The controller cannot go on: CSTS.CFS until its reset.
    func fail(reason: String)
}

extension NVMeFunctionPort {
    public var isFar: Bool { false }
    public var lossCount: Int { 0 }
}
