internal import Hardware
internal import JSONRPC
internal import Platform

/// What a controller offers, of whichever kind.
enum FunctionOffer: Equatable {
    case virtio(VirtioOffer)
    case nvme(NVMeOffer)

    var kind: FunctionIdentity.Kind {
        switch self {
        case .virtio: .virtioBlk
        case .nvme: .nvme
        }
    }
    var controller: String {
        switch self {
        case .virtio(let offer): offer.controller
        case .nvme(let offer): offer.controller
        }
    }
    var queueCount: Int {
        switch self {
        case .virtio(let offer): offer.queueCount
        case .nvme(let offer): offer.queueCount
        }
    }
    /// Whether the lease may stand by while another service has the serving one.
    var standsBy: Bool {
        switch self {
        case .virtio(let offer): offer.standsBy
        case .nvme(let offer): offer.standsBy
        }
    }
    /// Why a lease that stands by cannot take the function until its service says that it can.
    var obstacle: String? {
        switch self {
        case .virtio: nil
        // Its service has to compare namespaces with those that the driver knows.
        case .nvme: "it has yet to look at the function"
        }
    }
    /// Vectors that a VF is to have from now on; nil leaves its assignment alone.
    var vectorCount: Int? {
        switch self {
        case .virtio(let offer): offer.vectorCount
        case .nvme(let offer): offer.vectorCount
        }
    }
}

/// The kind-specific half of an emulated function: what its host has set up, and how it hears of
/// what becomes of that.
///
/// Without a lease it still answers its host (design, "Absence rule"); nothing is in flight then,
/// so resets complete at once.
protocol HostFace: AnyObject {
    var hostSocketPath: String { get }
    var isHostConnected: Bool { get }
    /// Of the latest state: each lease acknowledges how far it has come.
    var generation: UInt64 { get }
    /// Whether a driver has queues running.
    var isDriverRunning: Bool { get }

    /// Refuses to take back what a connected host has negotiated, field by field.
    func check(_ offer: FunctionOffer) throws(HardwareError)
    /// A lease is given.
    /// - Returns: its files, function memory first.
    func adopt(_ offer: FunctionOffer) throws(HardwareError) -> [SharedDescriptor]
    /// The files of a lease that stands by, function memory first: those of the present holder.
    /// EINVAL when they are too few or too small for the offer.
    func files(forStandby offer: FunctionOffer) throws(HardwareError) -> [SharedDescriptor]
    /// Tells `peer` the latest state.
    func send(to peer: ControlPeer, lease: UInt64)
    /// The service's message about generation `body["generation"]`.
    func acknowledged(_ body: JSONValue)
    /// Nobody is left to acknowledge: answers what the host waits for.
    func leaseEnded()
    /// What else a service says: "configure", "fail".
    func take(_ notice: String, _ body: JSONValue)
    /// Takes the function away from its host: a connected one is disconnected, nothing that was
    /// set up counts any more.
    func reset(reason: String)
    func shutDown()

    /// The whole of it, for the next process of this DPU.
    /// - Parameter number: under which the keeper has a descriptor.
    func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject
    /// A restored face goes on: first what is left of its host's last message.
    func goOn(after byteCount: Int, _ answer: HostAnswer?)
}
