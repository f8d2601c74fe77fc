public import Platform

/// Why an RDMA resource could not be had, with the cure where there is one. Nothing has changed
/// then.
public indirect enum RDMAError: Error, Equatable, CustomStringConvertible {
    /// No device of that name; there are these.
    case noDevice(String, devices: [String])
    /// More was asked of a device than it ever gives to one resource.
    case beyondLimit(device: String, parameter: String, wanted: Int, limit: Int)
    /// A completion queue has too few entries left for another queue pair.
    case completionQueueFull(wanted: Int, free: Int, capacity: Int)
    /// The device gives no further one, whatever it advertises.
    case exhausted(device: String, Resource, advertised: Int)
    /// The process may not lock more memory, or the device has no region left: both say ENOMEM.
    case regionRefused(device: String, byteCount: Int, lockLimit: UInt64?, advertised: Int)
    /// A queue pair of one device on a connection of another.
    case wrongDevice(String, connection: String)
    /// A step that the connection is not, or no longer, ready for.
    case outOfOrder(step: String, ConnectionState)
    case privateDataTooLong(Int, limit: Int)
    case notAnAddress(String)
    /// A port that no peer can name.
    case noAddress(device: String)
    case system(SystemError)

    public enum Resource: String, Sendable {
        case queuePair = "RC queue pair"
        case completionQueue = "completion queue"
    }

    static func system(_ call: String, _ result: Int32) -> RDMAError {
        .system(SystemError(call, code: -result))
    }

    /// The errno that verbs report for it (errno(3)).
    public var errorNumber: Int32 {
        switch self {
        case .noDevice: ErrorNumber.noDevice
        case .noAddress: ErrorNumber.noAddress
        case .completionQueueFull, .exhausted, .regionRefused: ErrorNumber.noMemory
        case .beyondLimit, .wrongDevice, .outOfOrder, .privateDataTooLong, .notAnAddress:
            ErrorNumber.invalid
        case .system(let error): error.code
        }
    }

    public var description: String {
        switch self {
        case .noDevice(let name, let devices):
            devices.isEmpty
                ? "no RDMA device \(name): this machine has none; "
                    + "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev IFACE makes one"
                : "no RDMA device \(name); the devices are \(devices.joined(separator: ", "))"
        case .beyondLimit(let device, let parameter, let wanted, let limit):
            "\(device): \(parameter) is \(wanted); the device gives at most \(limit)"
        case .completionQueueFull(let wanted, let free, let capacity):
            "a queue pair needs \(wanted) completion entries; \(free) of \(capacity) are free: "
                + "make the completion queue larger"
        case .exhausted(let device, let resource, let advertised):
            "\(device) gives no further \(resource.rawValue) (ENOMEM), although it advertises "
                + "\(advertised); a subfunction gets more register pages with PF_BAR2_ENABLE=0 "
                + "PER_PF_NUM_SF=1 PF_TOTAL_SF=236 PF_SF_BAR_SIZE=10 and a cold power cycle, a "
                + "soft-RoCE device with sysctl vm.max_map_count=1048576"
        case .regionRefused(let device, let byteCount, let lockLimit, let advertised):
            "\(device) cannot register \(byteCount) bytes (ENOMEM): "
                + (lockLimit.map {
                    "the process may lock \($0) bytes in all (RLIMIT_MEMLOCK); "
                        + "ulimit -l unlimited, or LimitMEMLOCK=infinity in a systemd unit, "
                        + "lifts that; "
                } ?? "")
                + "the device advertises \(advertised) regions: register fewer and larger ones"
        case .wrongDevice(let device, let connection):
            "a queue pair of \(device) cannot serve a connection over \(connection)"
        case .outOfOrder(let step, let state):
            "a connection in state \(state) cannot \(step)"
        case .privateDataTooLong(let count, let limit):
            "\(count) bytes of private data; the message carries \(limit)"
        case .notAnAddress(let text):
            "\"\(text)\" is no numeric IPv4 or IPv6 address"
        case .noAddress(let device):
            "RDMA device \(device) has no IPv4 address; ip addr add ADDRESS/24 dev IFACE gives the "
                + "interface under it one"
        case .system(let error) where error.code == ErrorNumber.again:
            "\(error) (EAGAIN): the process's control group has all objects of the device that it "
                + "may; raise hca_object and hca_handle in its rdma.max, or in those above it"
        case .system(let error): error.description
        }
    }
}
