internal import Hardware
internal import JSONRPC
internal import Platform
internal import VFIOUser
internal import VhostUser
internal import VirtioPCI

/// Host sessions as members of a record. Descriptors are numbers of the keeper's.
enum RecordCoding {
    typealias Number = (SharedDescriptor) -> UInt64
    typealias Files = [UInt64: SharedDescriptor]

    static func damaged(_ what: String) -> HardwareError {
        HardwareError(ErrorNumber.invalid, "record is damaged: it has no valid \(what)")
    }

    static func file(_ value: JSONValue?, _ files: Files) -> SharedDescriptor? {
        value?.unsigned.flatMap { files[$0] }
    }

    static func optional(_ file: SharedDescriptor?, _ number: Number) -> JSONValue {
        file.map { JSONValue(number($0)) } ?? .null
    }

    // --- vhost-user ---

    static func encode(_ session: HostSession.Snapshot, number: Number) -> JSONValue {
        [
            "state": .object(ControlCoding.encode(session.state, number: number)),
            "offer": .object(ControlCoding.encode(session.offer)),
            "status": JSONValue(session.deviceStatus),
            "channel": optional(session.backendChannel, number),
            "protocol": JSONValue(session.protocolFeatures),
            "features": JSONValue(session.features),
            "enabled": .array(session.isEnabled.map { .bool($0) }),
            "kicked": .array(session.hasKick.map { .bool($0) }),
        ]
    }

    static func hostSession(
        _ value: JSONValue, _ files: Files
    ) throws(HardwareError) -> HostSession {
        guard let state = virtioState(value["state"], files),
            case .virtio(let offer)? = value["offer"].flatMap(ControlCoding.offer),
            let status = value.unsigned("status").flatMap({ UInt8(exactly: $0) }),
            let protocolFeatures = value.unsigned("protocol"),
            let features = value.unsigned("features"),
            let enabled = value["enabled"]?.array, let kicked = value["kicked"]?.array
        else { throw damaged("vhost-user session") }
        do {
            return try HostSession(
                HostSession.Snapshot(
                    state: state, offer: offer, deviceStatus: status,
                    backendChannel: file(value["channel"], files),
                    protocolFeatures: protocolFeatures, features: features,
                    isEnabled: enabled.compactMap(\.bool), hasKick: kicked.compactMap(\.bool)))
        } catch { throw damaged("vhost-user session: \(error.reason)") }
    }

    static func virtioState(_ value: JSONValue?, _ files: Files) -> VirtioFunctionState? {
        guard let value, case .virtio(let state)? = ControlCoding.state(value, files: files)
        else { return nil }
        return state
    }

    static func encode(_ pending: HostSession.Pending) -> JSONValue {
        [
            "request": JSONValue(pending.message.request),
            "needs_reply": .bool(pending.message.needsReply),
            "queue": pending.queue.map { JSONValue($0) } ?? .null,
            "generation": JSONValue(pending.generation),
        ]
    }

    static func pending(_ value: JSONValue?) -> HostSession.Pending? {
        guard let value, let request = value.unsigned("request"),
            let generation = value.unsigned("generation")
        else { return nil }
        return HostSession.Pending(
            request: UInt32(truncatingIfNeeded: request), needsReply: value.flag("needs_reply"),
            queue: value.int("queue"), generation: generation)
    }

    // --- vfio-user ---

    static func encode(_ session: VFIOUserSession.Snapshot, number: Number) -> JSONValue {
        [
            "state": encode(session.state, number: number),
            "version": .bool(session.hasVersion),
            "configuration": JSONValue(hex: session.configuration),
            "vectors": JSONValue(hex: session.vectorTable),
        ]
    }

    static func encode(_ state: PCIHostState, number: Number) -> JSONValue {
        [
            "generation": JSONValue(state.generation), "resets": JSONValue(state.resetCount),
            "memory_generation": JSONValue(state.memoryGeneration),
            "memory": ControlCoding.encode(state.memory, number: number),
            "unreachable": .array(
                state.unreachable.map { [JSONValue($0.lowerBound), JSONValue($0.upperBound)] }),
            "master": .bool(state.isBusMaster),
            "irqs": .array(state.vectors.map { optional($0, number) }),
        ]
    }

    static func hostState(_ value: JSONValue?, _ files: Files) -> PCIHostState? {
        guard let value, let generation = value.unsigned("generation"),
            let resets = value.unsigned("resets"),
            let memoryGeneration = value.unsigned("memory_generation"),
            let memory = ControlCoding.memoryGrants(value, files: files),
            let unreachable = value["unreachable"]?.array, let irqs = value["irqs"]?.array
        else { return nil }
        let ranges = unreachable.compactMap { pair -> Range<UInt64>? in
            guard let ends = pair.array, ends.count == 2, let start = ends[0].unsigned,
                let end = ends[1].unsigned, start < end
            else { return nil }
            return start..<end
        }
        let vectors = irqs.map { file($0, files) }
        guard ranges.count == unreachable.count,
            zip(irqs, vectors).allSatisfy({ $0.isNull == ($1 == nil) })
        else { return nil }
        return PCIHostState(
            generation: generation, resetCount: resets, memoryGeneration: memoryGeneration,
            memory: memory, unreachable: ranges, isBusMaster: value.flag("master"),
            vectors: vectors)
    }

    static func session(
        _ value: JSONValue, shape: PCIShape, _ files: Files
    ) throws(HardwareError) -> VFIOUserSession {
        guard let state = hostState(value["state"], files),
            let configuration = value.bytes("configuration"), let table = value.bytes("vectors")
        else { throw damaged("vfio-user session") }
        do {
            return try VFIOUserSession(
                shape: shape,
                VFIOUserSession.Snapshot(
                    state: state, hasVersion: value.flag("version"), configuration: configuration,
                    vectorTable: table))
        } catch { throw damaged("vfio-user session: \(error.reason)") }
    }

    /// An answer that waits for the service.
    static func encode(_ pending: (reply: VFIOUserMessage?, generation: UInt64)) -> JSONValue {
        [
            "generation": JSONValue(pending.generation),
            "id": pending.reply.map { JSONValue($0.id) } ?? .null,
            "command": pending.reply.map { JSONValue($0.command) } ?? .null,
            "payload": pending.reply.map { JSONValue(hex: $0.payload) } ?? .null,
        ]
    }

    static func pending(
        _ value: JSONValue?
    ) -> (reply: VFIOUserMessage?, generation: UInt64)? {
        guard let value, let generation = value.unsigned("generation") else { return nil }
        guard let id = value.unsigned("id").flatMap({ UInt16(exactly: $0) }),
            let command = value.unsigned("command").flatMap({ UInt16(exactly: $0) })
        else { return (nil, generation) }
        let reply = VFIOUserMessage(
            id: id, command: command, isReply: true, payload: value.bytes("payload") ?? [])
        return (reply, generation)
    }

    // --- virtio registers ---

    static func encode(_ registers: VirtioRegisters.Snapshot) -> JSONValue {
        [
            "status": JSONValue(registers.status),
            "status_before_reset": registers.statusBeforeReset.map { JSONValue($0) } ?? .null,
            "features": JSONValue(registers.driverFeatures),
            "vector": JSONValue(registers.configurationVector),
            "device_select": JSONValue(registers.deviceFeatureSelect),
            "driver_select": JSONValue(registers.driverFeatureSelect),
            "queue_select": JSONValue(registers.queueSelect),
            "generation": JSONValue(registers.generation), "isr": JSONValue(registers.isr),
            "queues": .array(
                registers.queues.map { queue in
                    [
                        "size": JSONValue(queue.size), "vector": JSONValue(queue.vector),
                        "enabled": .bool(queue.isEnabled),
                        "descriptors": JSONValue(queue.descriptorArea),
                        "driver": JSONValue(queue.driverArea),
                        "device": JSONValue(queue.deviceArea),
                    ]
                }),
        ]
    }

    static func registers(_ value: JSONValue?) -> VirtioRegisters.Snapshot? {
        guard let value, let queues = value["queues"]?.array else { return nil }
        func number<Number: FixedWidthInteger>(_ value: JSONValue, _ key: String) -> Number {
            Number(truncatingIfNeeded: value.unsigned(key) ?? 0)
        }
        var registers = VirtioRegisters.Snapshot()
        registers.status = number(value, "status")
        registers.statusBeforeReset = value.unsigned("status_before_reset").map {
            UInt8(truncatingIfNeeded: $0)
        }
        registers.driverFeatures = number(value, "features")
        registers.configurationVector = number(value, "vector")
        registers.deviceFeatureSelect = number(value, "device_select")
        registers.driverFeatureSelect = number(value, "driver_select")
        registers.queueSelect = number(value, "queue_select")
        registers.generation = number(value, "generation")
        registers.isr = number(value, "isr")
        registers.queues = queues.map { entry in
            var queue = VirtioRegisters.Queue(size: number(entry, "size"))
            queue.vector = number(entry, "vector")
            queue.isEnabled = entry.flag("enabled")
            queue.descriptorArea = number(entry, "descriptors")
            queue.driverArea = number(entry, "driver")
            queue.deviceArea = number(entry, "device")
            return queue
        }
        return registers
    }
}
