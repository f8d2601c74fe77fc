public import Platform

/// An RDMA device with emulation rights: the hardware as a service sees it.
public protocol EmulationManager: Sendable {
    /// Device name: "mlx5_0".
    var name: String { get }
    /// Whether its functions end with this process (embedded), and with them their memory files.
    var isVolatile: Bool { get }

    func functions() async throws(HardwareError) -> [FunctionListing]

    /// Takes the serving lease of a virtio function. EBUSY while another controller holds it;
    /// EINVAL for a VF while its PF has no controller, and, field by field, when the offer takes
    /// back what a driver has negotiated; ENOSPC when the vectors do not suffice, ENOMEM when the
    /// RDMA device cannot give the service its queue pairs.
    func open(
        vuid: String, offer: VirtioOffer
    ) async throws(HardwareError) -> any VirtioFunctionPort

    /// A new hot-plug PF, powered off unless the request says otherwise: services see it, the host
    /// does not. ENOTSUP without an
    /// emulated PCIe switch, ENOSPC when all its ports are taken.
    func createFunction(
        _ request: FunctionRequest
    ) async throws(HardwareError) -> FunctionIdentity
    /// Removes a hot-plug PF that is powered off and has no controller, else EBUSY; EINVAL for
    /// other functions. `force` takes it away from a host that has it (surprise removal).
    func destroyFunction(vuid: String, force: Bool) async throws(HardwareError)
    /// Shows a hot-plug PF to the host, which needs a controller on it.
    func plug(vuid: String) async throws(HardwareError)
    /// Asks the host to let go of a hot-plug PF.
    func unplug(vuid: String) async throws(HardwareError)

    /// Moves all vectors of a PF's VFs into the PF's pool. EBUSY while a VF has a controller or is
    /// enabled.
    func reclaimVectors(vuid: String) async throws(HardwareError)
    /// Gives a VF, or a hot-plug PF that is powered off, another number of vectors. EBUSY while a
    /// driver uses it, ENOSPC when the pool has too few.
    func setVectors(vuid: String, count: Int) async throws(HardwareError)

    /// The card's RDMA devices and what they can give.
    func rdmaDevices() async throws(HardwareError) -> [RDMADeviceListing]

    /// Memory that outlives the service, under its own name; made at first use. EINVAL when it is
    /// there with another size.
    func memoryFile(
        _ name: String, byteCount: UInt64
    ) async throws(HardwareError) -> SharedDescriptor
    func deleteMemoryFile(_ name: String) async throws(HardwareError)
}

/// What a lease on a virtio function gives. Ends with `close`, or when the holder dies.
public protocol VirtioFunctionPort: Sendable {
    var identity: FunctionIdentity { get }
    /// Number of this lease, unique among those of its manager.
    var lease: UInt64 { get }
    /// This service, as named in the byte locks on its files.
    var holder: UInt64 { get }
    /// Holders whose requests may still be under way (design, "Predecessor rule").
    var predecessors: [UInt64] { get }
    var functionMemory: SharedDescriptor { get }
    var hostSocketPath: String { get }

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

    /// Whether the lease may be given back now. Unless `force`, EBUSY for a PF with VF controllers
    /// and for a VF that the host has enabled.
    func checkClose(force: Bool) async throws(HardwareError)

    /// Gives the lease back.
    /// - Parameter releasesVectors: a VF's vectors go back to its PF's pool.
    func close(releasesVectors: Bool) async
}
