internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// The DPU's end of the link to one service.
final class ControlPeer {
    /// Writes a function's state, given the number of each descriptor in it.
    typealias StateWriter = ((SharedDescriptor) -> UInt64) -> JSONObject

    /// Messages that may wait for a service that does not read; then it counts as dead.
    private static let backlogLimit = 4096

    /// Counts those that have connected.
    let number: Int
    /// Names the service in the byte locks on its files.
    private(set) var holder: UInt64
    private let wire: any ControlWire
    unowned let core: DPUCore
    /// Whether it is an operator's command and no service.
    private(set) var isOperator = false
    /// Whether it is on another machine: it has no descriptor of this one.
    var isRemote: Bool { !wire.carriesDescriptors }
    /// Whether it has shown that it may be a service here.
    var isProven: Bool { wire.isProven }
    /// Whether it reaches host memory by RDMA alone.
    private(set) var isRelayed = false
    /// What it calls itself, the same in all its lives; nil when it has no name.
    private(set) var service: String?
    /// Names it among the users of memory files.
    var claimant: String { service ?? "holder \(holder)" }
    /// Queue pairs that it wants before its first lease, and has from then on.
    private var need: QueuePairNeed?
    private var reservation: DPUCore.Reservation?
    private var token: UInt64 = 0
    private var backlog: [ControlMessage] = []
    /// By lease, the latest state that waits until the service has read what went before: however
    /// often a host changes its mind, it cannot make messages faster than they are read.
    private var due: [UInt64: StateWriter] = [:]
    private typealias KnownFiles = [ObjectIdentifier: (number: UInt64, file: SharedDescriptor)]
    /// Descriptors that the service already has, by lease.
    private var known: [UInt64: KnownFiles] = [:]
    private var nextFile: UInt64 = 1

    init(
        _ wire: any ControlWire, number: Int, holder: UInt64, core: DPUCore
    ) throws(SystemError) {
        self.wire = wire
        self.number = number
        self.holder = holder
        self.core = core
        token = try core.context.add(wire.number, .readable) { [unowned self] in ready() }
    }

    func close() {
        core.context.remove(wire.number, token: token)
        backlog = []
        due = [:]
        releaseQueuePairs()
    }

    // --- queue pairs ---

    /// - Returns: whether it had none before.
    func reserveQueuePairs() throws(HardwareError) -> Bool {
        guard let need, reservation == nil else { return false }
        reservation = try core.reserve(need)
        return true
    }

    func releaseQueuePairs() {
        if let reservation { core.release(reservation) }
        reservation = nil
    }

    private func end(_ reason: String) { core.forget(self, reason: reason) }

    // --- in ---

    private func ready() {
        flush()
        do throws(ControlLinkError) {
            while let message = try wire.receive() {
                handle(message)
            }
        } catch {
            switch error {
            case .closed: end("closed")
            case .broken(let reason): end(reason)
            }
        }
    }

    private func handle(_ message: ControlMessage) {
        let body = message.body
        guard let call = body.text("call") else { return }
        guard let id = body.unsigned("id") else { return notice(call, body) }
        do throws(HardwareError) {
            if try performLater(call, body, id: id) { return }
            if call == "hello" { try hello(message) }
            let (result, files) = try perform(call, body)
            answer(id, .success(result), files)
            if call == "open" { publish(result) }
        } catch { answer(id, .failure(error)) }
    }

    func answer(
        _ id: UInt64, _ result: Result<JSONObject, HardwareError>, _ files: [SharedDescriptor] = []
    ) {
        var message = ControlMessage(["id": JSONValue(id)])
        switch result {
        case .success(let members):
            message.body = ["id": JSONValue(id), "result": .object(members)]
            message.descriptors = files
        case .failure(let error):
            message.body = [
                "id": JSONValue(id),
                "error": ["code": JSONValue(error.code), "reason": .string(error.reason)],
            ]
        }
        send(message)
    }

    /// The new holder of a lease learns at once what its host has set up.
    private func publish(_ result: JSONObject) {
        guard let lease = result["lease"]?.unsigned else { return }
        core.function(lease: lease, of: self)?.opened()
    }

    private func perform(
        _ call: String, _ body: JSONValue
    ) throws(HardwareError) -> (JSONObject, [SharedDescriptor]) {
        switch call {
        case "hello": return (greeting, [])
        case "upgrade":
            throw core.upgrade(
                to: body.text("program") ?? "",
                recordVersion: body.unsigned("record_version") ?? 0)
        case "settled":
            core.settled(holder)
            return ([:], [])
        case "list": return (list(from: body.int("from") ?? 0, ofPF: body.int("pf")), [])
        case "open": return try open(body)
        case "close", "listener", "hand_over", "withdraw", "stand_down", "obstacle":
            return (try lease(call, body), [])
        case "memory_file":
            guard let name = body.text("name"), let bytes = body.unsigned("bytes") else {
                throw HardwareError(ErrorNumber.invalid, "memory_file needs name and bytes")
            }
            return ([:], [try core.memoryFile(name, byteCount: bytes, for: self)])
        case "memory_file_delete":
            if let name = body.text("name") { core.deleteMemoryFile(name, for: self) }
            return ([:], [])
        default: return (try changeCard(call, body), [])
        }
    }

    private func hello(_ message: ControlMessage) throws(HardwareError) {
        let body = message.body
        isOperator = body.flag("operator")
        service = body.text("service")
        if let device = body.text("rdma_device"), let count = body.int("queue_pairs") {
            need = QueuePairNeed(device: device, count: count)
        }
        let version = body.unsigned("version") ?? 0
        guard version == ControlMessage.version else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "control protocol \(version) is not \(ControlMessage.version), which this software "
                    + "DPU speaks; upgrade the older of the two")
        }
        try checkRemote(body)
        if body.text("data_path") == "rdma" {
            _ = try core.requireRelay()
            isRelayed = true
        }
        // A service that was here before is the same holder as then.
        if let before = body.unsigned("holder") {
            core.replacePeer(of: before)
            holder = before
        }
        if !isOperator, core.kept != nil, let lifeline = message.descriptors.first {
            core.watch(lifeline, of: holder)
        }
    }

    private var greeting: JSONObject {
        var members = ownGreeting
        for (name, value) in core.relayMembers(of: self).members { members.append(name, value) }
        return members
    }

    private var ownGreeting: JSONObject {
        [
            "version": JSONValue(ControlMessage.version), "holder": JSONValue(holder),
            "dpu": JSONValue(core.identity),
            "process": JSONValue(ProcessFacts.identifier),
            "manager": "mlx5_0", "volatile": .bool(core.inventory.isEmbedded),
            "instance": JSONValue(core.instance),
        ]
    }

    /// - Parameter pf: index of the PF whose functions are wanted; nil: all are.
    private func list(from start: Int, ofPF pf: Int?) -> JSONObject {
        let wanted = core.card.functions.filter {
            pf == nil || $0.identity.pfIndex == pf
        }
        let page = wanted.dropFirst(start).prefix(128)
        return [
            "functions": .array(page.map { ControlCoding.encode(core.listing(of: $0)) }),
            "total": JSONValue(wanted.count),
        ]
    }

    private func open(
        _ body: JSONValue
    ) throws(HardwareError) -> (JSONObject, [SharedDescriptor]) {
        guard let vuid = body.text("vuid"), let offer = ControlCoding.offer(body) else {
            throw HardwareError(ErrorNumber.invalid, "open needs a vuid and an offer")
        }
        if isRemote { try checkRemote(offer, of: vuid) }
        let granted = try core.open(
            vuid, offer, for: self, again: body.unsigned("lease"))
        var result = granted.details
        result.append("lease", JSONValue(granted.lease))
        result.append("function", ControlCoding.encode(try core.listing(vuid)))
        result.append("predecessors", .array(granted.predecessors.map { JSONValue($0) }))
        if isRemote {
            result.append("function_memory", try Self.stand(for: granted.files, offer))
            return (result, [])
        }
        return (result, granted.files)
    }

    private func notice(_ call: String, _ body: JSONValue) {
        guard let lease = body.unsigned("lease") else { return }
        core.function(lease: lease, of: self)?.take(call, body)
    }

    // --- out ---

    /// Sends a function's state, when it can be read; a newer one takes its place until then.
    func send(lease: UInt64, _ encode: @escaping StateWriter) {
        due[lease] = encode
        flush()
    }

    /// Writes a state, its new descriptors first and the useless ones taken back after.
    private func append(_ lease: UInt64, _ encode: StateWriter) {
        var files = known[lease] ?? [:]
        var used: Set<ObjectIdentifier> = []
        var message = encode { file in
            let key = ObjectIdentifier(file)
            used.insert(key)
            if let entry = files[key] { return entry.number }
            let number = nextFile
            nextFile += 1
            files[key] = (number, file)
            backlog.append(
                ControlMessage(
                    ["event": "file", "file": JSONValue(number)], descriptors: [file]))
            return number
        }
        message.append("event", "state")
        message.append("lease", JSONValue(lease))
        if let standing = core.function(lease: lease, of: self)?.standing(of: lease) {
            for (name, value) in ControlCoding.encode(standing).members {
                message.append(name, value)
            }
        }
        let stale = files.filter { !used.contains($0.key) }
        message.append("drop", Self.numbers(of: stale))
        for key in stale.keys { files[key] = nil }
        known[lease] = files
        backlog.append(ControlMessage(.object(message)))
    }

    /// Forgets what it was told of a lease that it does not have any more, and takes back what it
    /// was given for it.
    func forget(lease: UInt64) {
        due[lease] = nil
        guard let files = known.removeValue(forKey: lease), !files.isEmpty else { return }
        send(ControlMessage(["event": "drop", "drop": Self.numbers(of: files)]))
    }

    private static func numbers(of files: KnownFiles) -> JSONValue {
        .array(files.values.map { JSONValue($0.number) })
    }

    func send(_ message: ControlMessage) {
        backlog.append(message)
        flush()
    }

    private func flush() {
        while true {
            var sent = 0
            do throws(ControlLinkError) {
                try wire.flush()
                while sent < backlog.count, try wire.send(backlog[sent]) { sent += 1 }
            } catch {
                // The read side will see the end of the link too; leases end there, once.
                backlog = []
                due = [:]
                return
            }
            backlog.removeFirst(sent)
            guard backlog.isEmpty, let (lease, encode) = due.popFirst() else { break }
            append(lease, encode)
        }
        if backlog.count > Self.backlogLimit { return end("does not read its messages") }
        core.context.change(
            wire.number, backlog.isEmpty && !wire.hasUnsent ? .readable : .readableAndWritable,
            token: token)
    }
}
