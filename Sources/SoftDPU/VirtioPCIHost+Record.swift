internal import Hardware
internal import JSONRPC
internal import Platform
internal import VFIOUser
internal import VirtioPCI

/// What a virtio function's PCI side leaves to the next process.
extension VirtioPCIHost {
    func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject {
        [
            "function": .object(ControlCoding.encode(state, number: number)),
            "vfio_user": socket.map { .object($0.encode(number: number)) } ?? .null,
            "session": session.map { RecordCoding.encode($0.snapshot, number: number) } ?? .null,
            "pending": pending.map { RecordCoding.encode($0) } ?? .null,
            "registers": registers.map { RecordCoding.encode($0.snapshot) } ?? .null,
            "reset": resetGeneration.map { JSONValue($0) } ?? .null,
            "kicks": .array(kicks.map { JSONValue(number($0)) }),
            "last": lastHost.map { RecordCoding.encode($0.counters, number: number) } ?? .null,
        ]
    }

    func restore(_ kept: JSONValue, _ files: RecordCoding.Files) throws(HardwareError) {
        guard let listener = RecordCoding.file(kept["vfio_user"]?["listener"], files),
            let kicks = kept["kicks"]?.array
        else { throw RecordCoding.damaged("PCI host") }
        self.kicks = kicks.compactMap { RecordCoding.file($0, files) }
        guard self.kicks.count == kicks.count else { throw RecordCoding.damaged("kicks") }
        lastHost = RecordCoding.hostState(kept["last"], files)
        resetGeneration = kept.unsigned("reset")
        pending = RecordCoding.pending(kept["pending"])
        let socket = try HostSocket(
            function, ending: "vfio", core: core, conversation: self, kept: listener)
        self.socket = socket
        guard let host = RecordCoding.file(kept["vfio_user"]?["socket"], files),
            let offer = face.offer, let shape = shape(offer), let session = kept["session"],
            !session.isNull
        else { return }
        self.session = try RecordCoding.session(session, shape: shape, files)
        var registers = VirtioRegisters(
            features: offer.features, configuration: offer.configuration,
            queueCount: offer.queueCount, queueSize: offer.queueSize,
            vectorCount: shape.vectorCount)
        guard let snapshot = RecordCoding.registers(kept["registers"]), registers.restore(snapshot)
        else { throw RecordCoding.damaged("virtio registers") }
        self.registers = registers
        stream = VFIOUserStream(socket: host.number, isPeeking: true)
        try socket.adopt(host, isPaused: pending != nil)
    }

    func goOn(after byteCount: Int, _ answer: HostAnswer?) {
        socket?.goOn(after: byteCount, answer)
    }
}

extension PCIHostState {
    /// What counts of a host that has left.
    var counters: PCIHostState {
        PCIHostState(
            generation: generation, resetCount: resetCount, memoryGeneration: memoryGeneration,
            memory: [], unreachable: [], isBusMaster: false, vectors: [])
    }
}

extension HostAnswer {
    init(_ message: VFIOUserMessage) {
        self.init(bytes: message.encoded(), files: message.descriptors)
    }
}
