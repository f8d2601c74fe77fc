public import Hardware
internal import JSONRPC
public import Logging
public import Platform

/// The software DPU as a service sees it, over a control socket: in this process or another.
public final class RemoteManager: EmulationManager {
    public let name: String
    public let isVolatile: Bool
    public let dpu: UInt64
    /// The DPU's process: which life of it, and its identifier.
    let instance: UInt64
    let process: Int
    private let renewal: LinkRenewal
    private let holder: UInt64
    /// Whether the DPU is on another machine.
    private let isRemote: Bool
    /// The other end of the DPU's lifeline: it closes with this service.
    private let life: SharedDescriptor

    /// Greets the DPU at the other end of `connection`.
    /// - Parameters:
    ///   - isOperator: a command of the operator, which a power cycle does not cut off.
    ///   - service: a name that it has in all its lives; memory files wait for it.
    ///   - dataPath: how it reaches host memory; ENODEV when the DPU has no RDMA device for it.
    ///   - queuePairs: what it takes at its first lease, and keeps.
    ///   - place: where to connect again when the link has ended, for ever; without it the leases
    ///     end with the link.
    ///   - onEnd: called whenever a link is over, with the reason.
    public init(
        _ connection: ControlConnection, isOperator: Bool = false, service: String? = nil,
        queuePairs: QueuePairNeed? = nil,
        dataPath: DataPath = .mapped, reconnectingTo place: DPUPlace? = nil,
        log: Logger? = nil, onEnd: @escaping @Sendable (String) -> Void
    ) async throws(HardwareError) {
        let lifeline: SharedDescriptor
        do {
            (life, lifeline) = try UnixSocket.pair(.packet)
        } catch { throw HardwareError(error.code, "control link: \(error)") }
        var hello: JSONObject = [
            "version": JSONValue(ControlMessage.version), "operator": .bool(isOperator),
        ]
        if let service { hello.append("service", .string(service)) }
        if let queuePairs {
            hello.append("rdma_device", .string(queuePairs.device))
            hello.append("queue_pairs", JSONValue(queuePairs.count))
        }
        if dataPath == .rdma { hello.append("data_path", .string(dataPath.rawValue)) }
        renewal = LinkRenewal(
            hello, lifeline: lifeline, place: place, log: log, onEnd: onEnd)
        isRemote = !connection.wire.carriesDescriptors
        let result = try await renewal.start(over: connection)
        name = result.text("manager") ?? "mlx5_0"
        isVolatile = result.flag("volatile")
        instance = result.unsigned("instance") ?? 0
        dpu = result.unsigned("dpu") ?? 0
        process = result.int("process") ?? 0
        holder = result.unsigned("holder") ?? 0
    }

    /// The same over a packet socket, without a place to connect to again.
    public convenience init(
        _ socket: SharedDescriptor, isOperator: Bool = false, service: String? = nil,
        onEnd: @escaping @Sendable (String) -> Void
    ) async throws(HardwareError) {
        try await self.init(
            ControlConnection(socket), isOperator: isOperator, service: service, onEnd: onEnd)
    }

    deinit { renewal.close() }

    public var relay: RelayPlace? { renewal.relay }

    private var link: ControlLink {
        get throws(HardwareError) { try renewal.link }
    }

    /// Connects to the DPU that listens at `path`.
    public static func connect(to path: String) throws(HardwareError) -> SharedDescriptor {
        do {
            return SharedDescriptor(try UnixSocket.connect(to: path, .packet))
        } catch {
            throw HardwareError(
                error.code,
                "no software DPU at \(path): \(SystemError.text(of: error.code)); start it with "
                    + "`softdpu run` or leave --dpu out")
        }
    }

    public func functions() async throws(HardwareError) -> [FunctionListing] {
        try await functions(among: [:])
    }

    /// A card may have hundreds of functions: only these are sent.
    public func functions(ofPF index: Int) async throws(HardwareError) -> [FunctionListing] {
        try await functions(among: ["pf": JSONValue(index)])
            .filter { $0.identity.pfIndex == index }
    }

    private func functions(
        among wanted: JSONObject
    ) async throws(HardwareError) -> [FunctionListing] {
        var listings: [FunctionListing] = []
        while true {
            var body = wanted
            body.append("from", JSONValue(listings.count))
            let answer = try await link.call("list", body)
            let result = answer.body["result"] ?? .null
            let page = (result["functions"]?.array ?? []).compactMap(ControlCoding.listing)
            listings += page
            if page.isEmpty || listings.count >= result.int("total") ?? 0 { return listings }
        }
    }

    public func open(
        vuid: String, offer: VirtioOffer
    ) async throws(HardwareError) -> any VirtioFunctionPort {
        let (attachment, _) = try await lease(vuid, ControlCoding.encode(offer))
        let port = RemoteVirtioPort(attachment)
        renewal.add(port)
        attachment.link.register(port, lease: attachment.facts.lease)
        return port
    }

    public func open(
        vuid: String, offer: NVMeOffer
    ) async throws(HardwareError) -> any NVMeFunctionPort {
        let (attachment, answer) = try await lease(vuid, ControlCoding.encode(offer))
        let files =
            attachment.link.isRemote
            ? [attachment.facts.functionMemory] + (try NVMeStandIn.files(offer))
            : answer.descriptors
        guard files.count == 2 + 1 + offer.queueCount,
            let mode = answer.body["result"]?.text("doorbells").flatMap(
                DoorbellMode.init(rawValue:))
        else {
            throw HardwareError(
                ErrorNumber.invalid, "the software DPU gave a lease without its doorbells")
        }
        let port = RemoteNVMePort(
            attachment, doorbells: files[1], doorbellMode: mode, kicks: Array(files[2...]))
        renewal.add(port)
        attachment.link.register(port, lease: attachment.facts.lease)
        return port
    }

    private func lease(
        _ vuid: String, _ offer: JSONObject
    ) async throws(HardwareError) -> (RemoteAttachment, ControlMessage) {
        var body = offer
        body.append("vuid", .string(vuid))
        let link = try link
        let answer = try await link.call("open", body)
        guard let facts = LeaseFacts(answer, holder: holder) else {
            throw HardwareError(ErrorNumber.invalid, "the software DPU gave no lease")
        }
        return (RemoteAttachment(facts, link, offer: offer), answer)
    }

    public func createFunction(
        _ request: FunctionRequest
    ) async throws(HardwareError) -> FunctionIdentity {
        let answer = try await link.call("create_function", ControlCoding.encode(request))
        guard let listing = answer.body["result"].flatMap(ControlCoding.listing) else {
            throw HardwareError(ErrorNumber.invalid, "the software DPU gave no function")
        }
        return listing.identity
    }

    public func destroyFunction(vuid: String, force: Bool) async throws(HardwareError) {
        try await ask("destroy_function", vuid, ["force": .bool(force)])
    }

    public func plug(vuid: String) async throws(HardwareError) { try await ask("plug", vuid) }
    public func unplug(vuid: String) async throws(HardwareError) { try await ask("unplug", vuid) }

    public func reclaimVectors(vuid: String) async throws(HardwareError) {
        try await ask("reclaim_vectors", vuid)
    }

    public func setVectors(vuid: String, count: Int) async throws(HardwareError) {
        try await ask("set_vectors", vuid, ["vectors": JSONValue(count)])
    }

    /// Acts as the operator of the host does. Answered when nothing that it ends goes on.
    /// - Returns: what the operator should know.
    public func perform(_ action: HostAction) async throws(HardwareError) -> [String] {
        let answer = try await link.call("host", action.encoded)
        return (answer.body["result"]?["warnings"]?.array ?? []).compactMap(\.string)
    }

    /// Takes the card's power and gives it back: a cold boot.
    public func powerCycle() async throws(HardwareError) {
        _ = try await link.call("power_cycle", [:])
    }

    /// Has the DPU execute another program; the end of the link says that it does.
    func upgrade(to program: String, recordVersion: UInt64) async throws(HardwareError) {
        _ = try await link.call(
            "upgrade",
            ["program": .string(program), "record_version": JSONValue(recordVersion)])
    }

    private func ask(
        _ call: String, _ vuid: String, _ more: JSONObject = [:]
    ) async throws(HardwareError) {
        var body = more
        body.append("vuid", .string(vuid))
        _ = try await link.call(call, body)
    }

    public func rdmaDevices() async throws(HardwareError) -> [RDMADeviceListing] {
        let answer = try await link.call("rdma_devices", [:])
        return (answer.body["result"]?["devices"]?.array ?? [])
            .compactMap(ControlCoding.deviceListing)
    }

    public func memoryFile(
        _ name: String, byteCount: UInt64
    ) async throws(HardwareError) -> SharedDescriptor {
        if isRemote { return try Self.ownMemory(name, byteCount) }
        let answer = try await link.call(
            "memory_file", ["name": .string(name), "bytes": JSONValue(byteCount)])
        guard let file = answer.descriptors.first else {
            throw HardwareError(ErrorNumber.noMemory, "the software DPU gave no memory")
        }
        return file
    }

    /// Memory of this machine, which ends with this process: the hardware's is out of reach.
    private static func ownMemory(
        _ name: String, _ byteCount: UInt64
    ) throws(HardwareError) -> SharedDescriptor {
        do {
            return SharedDescriptor(try MemoryFile.create(name: name, byteCount: byteCount))
        } catch { throw HardwareError(error.code, "memory \(name): \(error)") }
    }

    public func deleteMemoryFile(_ name: String) async throws(HardwareError) {
        if isRemote { return }
        _ = try await link.call("memory_file_delete", ["name": .string(name)])
    }
}
