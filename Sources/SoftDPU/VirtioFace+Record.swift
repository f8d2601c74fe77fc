internal import Hardware
internal import JSONRPC
internal import Platform
internal import VhostUser

/// What a virtio function's face leaves to the next process.
extension VirtioFace {
    func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject {
        [
            "offer": offer.map { .object(ControlCoding.encode($0)) } ?? .null,
            "memory": RecordCoding.optional(memory, number),
            "memory_queues": JSONValue(memoryShape.queueCount),
            "memory_queue_size": JSONValue(memoryShape.queueSize),
            "last": .object(ControlCoding.encode(lastState, number: number)),
            "vhost_user": socket.map { .object($0.encode(number: number)) } ?? .null,
            "session": session.map { RecordCoding.encode($0.snapshot, number: number) } ?? .null,
            "pending": pending.map { RecordCoding.encode($0) } ?? .null,
            "pci": pci.map { .object($0.encode(number: number)) } ?? .null,
        ]
    }

    func restore(_ kept: JSONValue, _ files: RecordCoding.Files) throws(HardwareError) {
        guard case .virtio(let offer)? = kept["offer"].flatMap(ControlCoding.offer),
            let memory = RecordCoding.file(kept["memory"], files),
            let last = RecordCoding.virtioState(kept["last"], files),
            let listener = RecordCoding.file(kept["vhost_user"]?["listener"], files),
            let pci = kept["pci"]
        else { throw RecordCoding.damaged("virtio function") }
        // Refuses what no service could adopt.
        _ = try FunctionMemory(adopting: memory)
        self.offer = offer
        self.memory = memory
        memoryShape = (kept.int("memory_queues") ?? 0, kept.int("memory_queue_size") ?? 0)
        lastState = last
        if let session = kept["session"], !session.isNull {
            self.session = try RecordCoding.hostSession(session, files)
        }
        pending = RecordCoding.pending(kept["pending"])
        let socket = try HostSocket(function, core: core, conversation: self, kept: listener)
        self.socket = socket
        if let host = RecordCoding.file(kept["vhost_user"]?["socket"], files), session != nil {
            stream = VhostUserStream(socket: host.number, isPeeking: true)
            try socket.adopt(host, isPaused: pending != nil)
        }
        self.pci = try VirtioPCIHost(function, core: core, face: self, kept: pci, files: files)
    }

    func goOn(after byteCount: Int, _ answer: HostAnswer?) {
        core.machineDriver(of: function.vuid, isRunning: isDriverRunning)
        socket?.goOn(after: byteCount, answer)
        pci?.goOn(after: byteCount, answer)
        // Nobody is left whom an answer could wait for.
        if !function.isDriven { leaseEnded() }
    }
}

extension HostAnswer {
    init(_ message: VhostUserMessage) {
        self.init(bytes: message.encoded(), files: message.descriptors)
    }
}
