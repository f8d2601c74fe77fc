public import Platform

/// An RDMA device with emulation rights: the hardware as a service sees it.
public protocol EmulationManager: Sendable {
    /// Device name: "mlx5_0".
    var name: String { get }
    /// Tells it from others: the same for all its services, in all its lives.
    var dpu: UInt64 { get }
    /// Whether its functions end with this process (embedded), and with them their memory files.
    var isVolatile: Bool { get }

    /// Where the host's side of the RDMA data path is; nil: there is none, or none now.
    var relay: RelayPlace? { get }

    func functions() async throws(HardwareError) -> [FunctionListing]
    /// Those of them whose PF has this index, of either kind: PFs and their VFs.
    func functions(ofPF index: Int) async throws(HardwareError) -> [FunctionListing]

    /// Takes the serving lease of a virtio function, or, if the offer says so and another service
    /// has that, the standby lease. EBUSY while another controller holds it;
    /// EINVAL for a VF while its PF has no controller, and, field by field, when the offer takes
    /// back what a driver has negotiated; ENOSPC when the vectors do not suffice, ENOMEM when the
    /// RDMA device cannot give the service its queue pairs.
    func open(
        vuid: String, offer: VirtioOffer
    ) async throws(HardwareError) -> any VirtioFunctionPort

    /// Takes the serving lease of an NVMe function, on the same terms; EINVAL also, field by field,
    /// when a running driver has been promised more queues, or longer ones.
    func open(
        vuid: String, offer: NVMeOffer
    ) async throws(HardwareError) -> any NVMeFunctionPort

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

extension EmulationManager {
    public var relay: RelayPlace? { nil }

    public func functions(ofPF index: Int) async throws(HardwareError) -> [FunctionListing] {
        try await functions().filter { $0.identity.pfIndex == index }
    }
}
