internal import DeviceResources

/// A device on which `qp-stress` creates queue pairs: the card's model, or one of this machine.
protocol QueuePairSource {
    var name: String { get }
    var advertised: RDMADevice.Advertised { get }

    /// One completion queue of `depth` entries and one RC queue pair on it.
    mutating func createPair(depth: Int) throws(QueuePairRefusal)
}

/// A refusal in the words that the reported script prints.
struct QueuePairRefusal: Error, CustomStringConvertible {
    enum Object: String {
        case completionQueue = "CQ"
        case queuePair = "QP"
    }

    let object: Object
    let errorNumber: Int32
    let reason: String
    /// What more the device's owner should know.
    var advice: String?

    var description: String {
        "Failed to create \(object.rawValue). Errno: \(errorNumber), \(reason)"
    }
}
