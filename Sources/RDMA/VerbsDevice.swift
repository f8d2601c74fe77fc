internal import CVerbs
internal import Platform

/// An RDMA device that is open (ibv_context). Ends with the last resource that was made from it.
///
/// Any thread may make resources of it.
@safe
public final class VerbsDevice: @unchecked Sendable {
    // Sendable: immutable after init; libibverbs locks what a context shares.
    let context: UnsafeMutablePointer<ibv_context>
    public let name: String
    public let limits: DeviceLimits
    private let list: DeviceList

    /// Opens the device `name`, and with it all others that librdmacm knows.
    public convenience init(_ name: String) throws(RDMAError) {
        let names = VerbsDevice.names
        guard names.contains(name) else { throw .noDevice(name, devices: names) }
        let list = try DeviceList()
        for index in 0..<list.count where unsafe VerbsDevice.name(of: list[index]) == name {
            unsafe try self.init(list[index], list)
            return
        }
        throw .noDevice(name, devices: names)
    }

    /// The device of a context that belongs to librdmacm.
    convenience init(of context: UnsafeMutablePointer<ibv_context>) throws(RDMAError) {
        unsafe try self.init(context, DeviceList())
    }

    private init(
        _ context: UnsafeMutablePointer<ibv_context>, _ list: DeviceList
    ) throws(RDMAError) {
        unsafe self.context = unsafe context
        self.list = list
        name = unsafe VerbsDevice.name(of: context)
        var attributes = ibv_device_attr()
        let result = unsafe ibv_query_device(context, &attributes)
        if result != 0 { throw .system("ibv_query_device \(name)", -result) }
        limits = DeviceLimits(attributes)
    }

    /// The machine's devices, none of which is opened.
    public static var names: [String] {
        var count: Int32 = 0
        guard let devices = unsafe ibv_get_device_list(&count) else { return [] }
        defer { unsafe ibv_free_device_list(devices) }
        return (0..<Int(count)).compactMap { index in
            guard let device = unsafe devices[index] else { return nil }
            return unsafe String(cString: ibv_get_device_name(device))
        }
    }

    private static func name(of context: UnsafeMutablePointer<ibv_context>) -> String {
        unsafe String(cString: ibv_get_device_name(context.pointee.device))
    }

    /// The port `number`, from 1 on.
    public func port(_ number: UInt8 = 1) throws(RDMAError) -> VerbsPort {
        var attributes = ibv_port_attr()
        let result = unsafe verbs_query_port(context, number, &attributes)
        if result != 0 { throw .system("ibv_query_port \(name)/\(number)", result) }
        var entries = [ibv_gid_entry](repeating: ibv_gid_entry(), count: 256)
        let count = unsafe verbs_query_gids(context, &entries, entries.count)
        let own = entries.prefix(max(0, count)).filter { $0.port_num == UInt32(number) }
        return VerbsPort(
            number: number, isActive: attributes.state == IBV_PORT_ACTIVE,
            packetByteCount: 128 << attributes.active_mtu.rawValue,
            identifiers: own.map(VerbsPort.Identifier.init))
    }
}

/// What a device advertises (ibv_query_device). Really it may give less.
public struct DeviceLimits: Sendable, Equatable {
    public let queuePairs: Int
    public let completionQueues: Int
    public let protectionDomains: Int
    public let memoryRegions: Int
    public let workRequestsPerQueuePair: Int
    public let entriesPerCompletionQueue: Int
    /// RDMA READs of a queue pair under way at once.
    public let readsPerQueuePair: Int

    init(_ attributes: ibv_device_attr) {
        queuePairs = Int(attributes.max_qp)
        completionQueues = Int(attributes.max_cq)
        protectionDomains = Int(attributes.max_pd)
        memoryRegions = Int(attributes.max_mr)
        workRequestsPerQueuePair = Int(attributes.max_qp_wr)
        entriesPerCompletionQueue = Int(attributes.max_cqe)
        readsPerQueuePair = Int(attributes.max_qp_rd_atom)
    }
}

/// A port of a device, and under which addresses peers reach it.
public struct VerbsPort: Sendable, Equatable {
    /// An entry of the port's GID table.
    public struct Identifier: Sendable, Equatable {
        public let index: Int
        /// Dotted IPv4 address; nil for every other identifier.
        public let address: String?
        /// RoCE version 2: packets are routed as UDP.
        public let isRouted: Bool

        init(_ entry: ibv_gid_entry) {
            index = Int(entry.gid_index)
            isRouted = entry.gid_type == UInt32(IBV_GID_TYPE_ROCE_V2.rawValue)
            var text = [CChar](repeating: 0, count: 16)
            let isAddress = unsafe withUnsafePointer(to: entry) {
                unsafe verbs_gid_address($0, &text)
            }
            let bytes = text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:))
            address = isAddress ? String(decoding: bytes, as: UTF8.self) : nil
        }
    }

    public let number: UInt8
    public let isActive: Bool
    /// Of the largest packet.
    public let packetByteCount: Int
    public let identifiers: [Identifier]

    /// Its first IPv4 address that peers reach by routed packets, else its first one.
    public var address: String? {
        identifiers.first { $0.isRouted && $0.address != nil }?.address
            ?? identifiers.compactMap(\.address).first
    }
}

/// Every device as librdmacm has opened it, for as long as this lives.
@safe
private final class DeviceList: @unchecked Sendable {
    // Sendable: immutable after init.
    private let contexts: UnsafeMutablePointer<UnsafeMutablePointer<ibv_context>?>
    let count: Int

    init() throws(RDMAError) {
        var list: UnsafeMutablePointer<UnsafeMutablePointer<ibv_context>?>?
        var count: Int32 = 0
        let result = unsafe verbs_open_devices(&list, &count)
        guard let list = unsafe list else {
            throw .system("rdma_get_devices (modprobe rdma_ucm)", result)
        }
        unsafe contexts = list
        self.count = Int(count)
    }

    deinit { unsafe rdma_free_devices(contexts) }

    subscript(index: Int) -> UnsafeMutablePointer<ibv_context> {
        precondition(index >= 0 && index < count)
        guard let context = unsafe contexts[index] else { preconditionFailure("a hole") }
        return unsafe context
    }
}
