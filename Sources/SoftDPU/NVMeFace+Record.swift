internal import Hardware
internal import JSONRPC
internal import NVMe
internal import Platform
internal import VFIOUser

/// What an NVMe function's face leaves to the next process. The doorbells are in their own file.
extension NVMeFace {
    func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject {
        [
            "offer": offer.map { .object(ControlCoding.encode($0)) } ?? .null,
            "memory": RecordCoding.optional(memory, number),
            "doorbells": RecordCoding.optional(doorbells?.file, number),
            "doorbell_mode": .string(core.inventory.doorbellMode(of: function.vuid).rawValue),
            "kicks": .array(kicks.map { JSONValue(number($0)) }),
            "registers": [
                "cc": JSONValue(registers.configuration), "csts": JSONValue(registers.status),
                "aqa": JSONValue(registers.adminQueueAttributes),
                "asq": JSONValue(registers.adminSubmissionQueue),
                "acq": JSONValue(registers.adminCompletionQueue),
                "intm": JSONValue(registers.interruptMask),
                "queue_size": JSONValue((registers.capabilities & 0xFFFF) + 1),
            ],
            "generation": JSONValue(generation), "epoch": JSONValue(epoch),
            "status_epoch": JSONValue(statusEpoch),
            "memory_generation": JSONValue(memoryGeneration),
            "vfio_user": socket.map { .object($0.encode(number: number)) } ?? .null,
            "session": session.map { RecordCoding.encode($0.snapshot, number: number) } ?? .null,
            "pending": pending.map { RecordCoding.encode($0) } ?? .null,
            "last": lastHost.map { RecordCoding.encode($0.counters, number: number) } ?? .null,
        ]
    }

    func restore(_ kept: JSONValue, _ files: RecordCoding.Files) throws(HardwareError) {
        guard case .nvme(let offer)? = kept["offer"].flatMap(ControlCoding.offer),
            let memory = RecordCoding.file(kept["memory"], files),
            memory.sharedMemoryByteCount == UInt64(offer.memoryByteCount),
            let doorbells = RecordCoding.file(kept["doorbells"], files),
            doorbells.sharedMemoryByteCount == UInt64(DoorbellPage.fileByteCount),
            let kicks = kept["kicks"]?.array, let epoch = kept.unsigned("epoch"),
            let generation = kept.unsigned("generation"),
            let statusEpoch = kept.unsigned("status_epoch"),
            let memoryGeneration = kept.unsigned("memory_generation"),
            let registers = kept["registers"].flatMap(Self.registers),
            let listener = RecordCoding.file(kept["vfio_user"]?["listener"], files)
        else { throw RecordCoding.damaged("NVMe function") }
        self.offer = offer
        self.memory = memory
        do {
            self.doorbells = try Doorbells(kept: doorbells)
        } catch { throw HardwareError(error.code, "doorbells: \(error)") }
        self.kicks = kicks.compactMap { RecordCoding.file($0, files) }
        guard self.kicks.count == kicks.count else { throw RecordCoding.damaged("kicks") }
        self.registers = registers
        self.generation = generation
        self.epoch = epoch
        self.statusEpoch = statusEpoch
        self.memoryGeneration = memoryGeneration
        lastHost = RecordCoding.hostState(kept["last"], files)
        pending = RecordCoding.pending(kept["pending"])
        let socket = try HostSocket(function, core: core, conversation: self, kept: listener)
        self.socket = socket
        guard let host = RecordCoding.file(kept["vfio_user"]?["socket"], files), let shape,
            let session = kept["session"], !session.isNull
        else { return }
        try checkMode(kept)
        self.session = try RecordCoding.session(session, shape: shape, files)
        stream = VFIOUserStream(socket: host.number, isPeeking: true)
        try socket.adopt(host, isPaused: pending != nil)
    }

    /// A host that has mapped its doorbells, or has not, cannot be told otherwise.
    private func checkMode(_ kept: JSONValue) throws(HardwareError) {
        let mode = core.inventory.doorbellMode(of: function.vuid).rawValue
        guard let before = kept.text("doorbell_mode"), before != mode else { return }
        throw HardwareError(
            ErrorNumber.invalid,
            "its host has \(before) doorbells, --nvme-doorbells says \(mode) now; start softdpu as "
                + "before")
    }

    private static func registers(_ value: JSONValue) -> Registers? {
        guard let cc = value.unsigned("cc"), let csts = value.unsigned("csts"),
            let aqa = value.unsigned("aqa"), let asq = value.unsigned("asq"),
            let acq = value.unsigned("acq"), let mask = value.unsigned("intm"),
            let size = value.int("queue_size"), size >= 2, size <= 65536
        else { return nil }
        return Registers(
            queueSize: size, configuration: UInt32(truncatingIfNeeded: cc),
            status: UInt32(truncatingIfNeeded: csts),
            adminQueueAttributes: UInt32(truncatingIfNeeded: aqa), adminSubmissionQueue: asq,
            adminCompletionQueue: acq, interruptMask: UInt32(truncatingIfNeeded: mask))
    }

    func goOn(after byteCount: Int, _ answer: HostAnswer?) {
        core.machineDriver(of: function.vuid, isRunning: isDriverRunning)
        socket?.goOn(after: byteCount, answer)
        if !function.isDriven { leaseEnded() }
    }
}
