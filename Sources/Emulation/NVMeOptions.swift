internal import Hardware
internal import NVMe

/// What `nvme_controller_create` asks for.
public struct NVMeOptions: Equatable, Sendable {
    public var name: String
    public var vuid: String
    public var nqn: String
    /// I/O queues; 0 for a controller that only carries VFs (`admin_only`).
    public var queueCount: Int
    /// Entries of a queue at most.
    public var queueSize: Int
    /// A transfer has at most 4096 << mdts bytes.
    public var mdts: Int
    public var firmwareSlotCount: Int
    public var offersWriteZeroes = false
    public var offersCompare = false
    public var offersCompareAndWrite = false
    public var offersDeallocate = false
    public var startsSuspended = false
    /// Waits for another service to hand the function over, so long; nil does not.
    public var listenerPatience: Duration?
    public var isAdminOnly = false
    /// Echoed by the list.
    public var isDynamic = false
    public var quirks: UInt32 = 0
    /// Vectors that a VF takes from its PF's pool; nil keeps what it has.
    public var vectorCount: Int?

    public init(
        name: String, vuid: String, nqn: String, queueCount: Int, queueSize: Int, mdts: Int,
        firmwareSlotCount: Int
    ) {
        self.name = name
        self.vuid = vuid
        self.nqn = nqn
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.mdts = mdts
        self.firmwareSlotCount = firmwareSlotCount
    }

    var offer: NVMeOffer {
        var offer = NVMeOffer(
            controller: name, queueCount: queueCount, queueSize: queueSize,
            memoryByteCount: NVMeMemory.byteCount(queueCount: queueCount + 1))
        offer.vectorCount = vectorCount
        offer.standsBy = listenerPatience != nil
        return offer
    }
}
