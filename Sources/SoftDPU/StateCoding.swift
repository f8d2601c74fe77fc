internal import Hardware
internal import JSONRPC
internal import Platform

/// A function's state, of whichever kind.
enum FunctionState: Sendable {
    case virtio(VirtioFunctionState)
    case nvme(NVMeFunctionState)
}

/// What hosts have set up, as members of control messages.
extension ControlCoding {
    /// - Parameter number: the number of a descriptor, introduced when it is new.
    static func encode(
        _ state: VirtioFunctionState, number: (SharedDescriptor) -> UInt64
    ) -> JSONObject {
        var state = state
        if let remote = state.remote {
            // Nothing that could be mapped or signalled past the keys.
            state.memory = []
            state.inflight = nil
            state.dirtyLog = nil
            for index in state.queues.indices {
                state.queues[index].kick = nil
                state.queues[index].call = nil
            }
            var members = encodeLocal(state, number: number)
            members.append("remote", encode(remote))
            return members
        }
        return encodeLocal(state, number: number)
    }

    private static func encodeLocal(
        _ state: VirtioFunctionState, number: (SharedDescriptor) -> UInt64
    ) -> JSONObject {
        [
            "generation": JSONValue(state.generation), "epoch": JSONValue(state.epoch),
            "features": JSONValue(state.driverFeatures),
            "memory_generation": JSONValue(state.memoryGeneration),
            "memory": encode(state.memory, number: number),
            "queues": .array(state.queues.map { encode($0, number: number) }),
            "inflight": state.inflight.map { grant in
                [
                    "bytes": JSONValue(grant.byteCount), "offset": JSONValue(grant.fileOffset),
                    "queues": JSONValue(grant.queueCount), "size": JSONValue(grant.queueSize),
                    "file": JSONValue(number(grant.file)),
                ]
            } ?? .null,
            "logging": .bool(state.isLogging),
            "log_generation": JSONValue(state.logGeneration),
            "log": state.dirtyLog.map { grant in
                [
                    "bytes": JSONValue(grant.byteCount), "offset": JSONValue(grant.fileOffset),
                    "file": JSONValue(number(grant.file)),
                ]
            } ?? .null,
        ]
    }

    static func encode(
        _ memory: [MemoryGrant], number: (SharedDescriptor) -> UInt64
    ) -> JSONValue {
        .array(
            memory.map { grant in
                [
                    "guest": JSONValue(grant.guestAddress), "bytes": JSONValue(grant.byteCount),
                    "user": JSONValue(grant.userAddress), "offset": JSONValue(grant.fileOffset),
                    "file": JSONValue(number(grant.file)),
                ]
            })
    }

    private static func encode(
        _ queue: QueueGrant, number: (SharedDescriptor) -> UInt64
    ) -> JSONValue {
        [
            "run": JSONValue(queue.run), "running": .bool(queue.isRunning),
            "size": JSONValue(queue.size), "descriptors": JSONValue(queue.descriptorArea),
            "driver": JSONValue(queue.driverArea), "device": JSONValue(queue.deviceArea),
            "base": JSONValue(queue.base), "log": .bool(queue.logsRing),
            "log_address": JSONValue(queue.logAddress),
            "kick": queue.kick.map { JSONValue(number($0)) } ?? .null,
            "call": queue.call.map { JSONValue(number($0)) } ?? .null,
        ]
    }

    static func encode(
        _ state: NVMeFunctionState, number: (SharedDescriptor) -> UInt64
    ) -> JSONObject {
        var state = state
        guard let remote = state.remote else { return encodeLocal(state, number: number) }
        // As above.
        state.memory = []
        state.vectors = []
        var members = encodeLocal(state, number: number)
        members.append("remote", encode(remote))
        return members
    }

    private static func encodeLocal(
        _ state: NVMeFunctionState, number: (SharedDescriptor) -> UInt64
    ) -> JSONObject {
        [
            "generation": JSONValue(state.generation), "epoch": JSONValue(state.epoch),
            "memory_generation": JSONValue(state.memoryGeneration),
            "memory": encode(state.memory, number: number), "cc": JSONValue(state.configuration),
            "aqa": JSONValue(state.adminQueueAttributes),
            "asq": JSONValue(state.adminSubmissionQueue),
            "acq": JSONValue(state.adminCompletionQueue), "csts": JSONValue(state.status),
            "irqs": .array(
                state.vectors.map { file in file.map { JSONValue(number($0)) } ?? .null }),
        ]
    }

    /// A state of either kind.
    /// - Parameter files: the descriptors introduced so far.
    static func state(_ value: JSONValue, files: [UInt64: SharedDescriptor]) -> FunctionState? {
        if value["cc"] != nil { return nvmeState(value, files: files).map { .nvme($0) } }
        return virtioState(value, files: files).map { .virtio($0) }
    }

    private static func nvmeState(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> NVMeFunctionState? {
        guard let generation = value.unsigned("generation"), let epoch = value.unsigned("epoch"),
            let memoryGeneration = value.unsigned("memory_generation"),
            let memory = memoryGrants(value, files: files), let cc = value.unsigned("cc"),
            let aqa = value.unsigned("aqa"), let asq = value.unsigned("asq"),
            let acq = value.unsigned("acq"), let csts = value.unsigned("csts"),
            let irqs = value["irqs"]?.array
        else { return nil }
        var state = NVMeFunctionState(
            generation: generation, epoch: epoch, memoryGeneration: memoryGeneration,
            memory: memory, configuration: UInt32(truncatingIfNeeded: cc),
            adminQueueAttributes: UInt32(truncatingIfNeeded: aqa), adminSubmissionQueue: asq,
            adminCompletionQueue: acq, status: UInt32(truncatingIfNeeded: csts),
            vectors: irqs.map { file in file.unsigned.flatMap { files[$0] } })
        if let remote = value["remote"] {
            guard let grants = remoteGrants(remote) else { return nil }
            state.remote = grants
        }
        state.standing = standing(value)
        return state
    }

    static func memoryGrants(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> [MemoryGrant]? {
        guard let memory = value["memory"]?.array else { return nil }
        let grants = memory.compactMap { memoryGrant($0, files: files) }
        return grants.count == memory.count ? grants : nil
    }

    private static func virtioState(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> VirtioFunctionState? {
        guard let generation = value.unsigned("generation"), let epoch = value.unsigned("epoch"),
            let features = value.unsigned("features"),
            let memoryGeneration = value.unsigned("memory_generation"),
            let grants = memoryGrants(value, files: files), let queues = value["queues"]?.array
        else { return nil }
        let rings = queues.enumerated().compactMap { queue($1, index: $0, files: files) }
        guard rings.count == queues.count else { return nil }
        var state = VirtioFunctionState(
            generation: generation, epoch: epoch, driverFeatures: features,
            memoryGeneration: memoryGeneration, memory: grants, queues: rings,
            inflight: value["inflight"].flatMap { inflightGrant($0, files: files) })
        guard let logGeneration = value.unsigned("log_generation"), let log = value["log"] else {
            return nil
        }
        state.logGeneration = logGeneration
        state.isLogging = value.flag("logging")
        state.dirtyLog = dirtyLogGrant(log, files: files)
        // Serving without the log would lose pages.
        if !log.isNull && state.dirtyLog == nil { return nil }
        if let remote = value["remote"] {
            guard let grants = remoteGrants(remote) else { return nil }
            state.remote = grants
        }
        state.standing = standing(value)
        return state
    }

    private static func dirtyLogGrant(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> DirtyLogGrant? {
        guard let bytes = value.unsigned("bytes"), let offset = value.unsigned("offset"),
            let file = value.unsigned("file").flatMap({ files[$0] })
        else { return nil }
        return DirtyLogGrant(byteCount: bytes, fileOffset: offset, file: file)
    }

    private static func memoryGrant(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> MemoryGrant? {
        guard let guest = value.unsigned("guest"), let bytes = value.unsigned("bytes"),
            let user = value.unsigned("user"), let offset = value.unsigned("offset"),
            let file = value.unsigned("file").flatMap({ files[$0] })
        else { return nil }
        return MemoryGrant(
            guestAddress: guest, byteCount: bytes, userAddress: user, fileOffset: offset,
            file: file)
    }

    private static func inflightGrant(
        _ value: JSONValue, files: [UInt64: SharedDescriptor]
    ) -> InflightGrant? {
        guard let bytes = value.unsigned("bytes"), let offset = value.unsigned("offset"),
            let queues = value.int("queues"), let size = value.int("size"),
            let file = value.unsigned("file").flatMap({ files[$0] })
        else { return nil }
        return InflightGrant(
            byteCount: bytes, fileOffset: offset, queueCount: queues, queueSize: size, file: file)
    }

    private static func queue(
        _ value: JSONValue, index: Int, files: [UInt64: SharedDescriptor]
    ) -> QueueGrant? {
        guard let run = value.unsigned("run"), let size = value.int("size"),
            let descriptors = value.unsigned("descriptors"),
            let driver = value.unsigned("driver"), let device = value.unsigned("device"),
            let base = value.unsigned("base"), let logAddress = value.unsigned("log_address")
        else { return nil }
        var queue = QueueGrant(index: index)
        queue.run = run
        queue.isRunning = value.flag("running")
        queue.size = size
        queue.descriptorArea = descriptors
        queue.driverArea = driver
        queue.deviceArea = device
        queue.base = UInt32(truncatingIfNeeded: base)
        queue.logsRing = value.flag("log")
        queue.logAddress = logAddress
        queue.kick = value.unsigned("kick").flatMap { files[$0] }
        queue.call = value.unsigned("call").flatMap { files[$0] }
        return queue
    }
}
