internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// What the DPU itself leaves to its next process, and how that one takes it up.
extension DPUCore {
    /// Records which functions, memory files and services there are.
    func commit() {
        guard let rootRecord, !isRestoring else { return }
        rootRecord.write { number in
            [
                "dpu": JSONValue(identity), "leases": JSONValue(leaseCount),
                "former_holders": .array(formerHolders.map { JSONValue($0) }),
                "memory_files": .array(
                    memoryFiles.map { name, kept in
                        [
                            "name": .string(name), "file": JSONValue(number(kept.file)),
                            "users": .array(kept.users.sorted().map { .string($0) }),
                        ]
                    }),
                "services": .array(
                    lifelines.map { holder, line in
                        ["holder": JSONValue(holder), "file": JSONValue(number(line.socket))]
                    }),
                "functions": .array(functionRecords),
            ]
        }
    }

    private var functionRecords: [JSONValue] {
        emulated.values.compactMap { function -> JSONValue? in
            guard let record = function.record else { return nil }
            return ["vuid": .string(function.vuid), "record": JSONValue(record.number)]
        } + refusedRecords.values
    }

    /// Takes up what another process of this DPU has left.
    func restore(_ root: KeptRecord, _ body: JSONValue, in kept: KeptFiles) {
        let start = Clock.monotonicNanoseconds()
        let files = kept.found
        isRestoring = true
        identity = body.unsigned("dpu") ?? identity
        leaseCount = body.unsigned("leases") ?? 0
        formerHolders = (body["former_holders"]?.array ?? []).compactMap(\.unsigned)
        for entry in body["memory_files"]?.array ?? [] {
            guard let name = entry.text("name"), let file = RecordCoding.file(entry["file"], files)
            else { continue }
            let users = (entry["users"]?.array ?? []).compactMap(\.string)
            memoryFiles[name] = MemoryKeep(file: file, users: Set(users))
        }
        for entry in body["functions"]?.array ?? [] {
            guard let vuid = entry.text("vuid"), let number = entry.unsigned("record") else {
                continue
            }
            restore(vuid, number, entry, kept, files)
        }
        for entry in body["services"]?.array ?? [] {
            guard let holder = entry.unsigned("holder"),
                let file = RecordCoding.file(entry["file"], files)
            else { continue }
            watch(file, of: holder)
        }
        for function in emulated.values { function.goOn() }
        // A service without a lifeline cannot be known to be alive.
        for function in emulated.values {
            if let orphan = function.orphan, lifelines[orphan.holder] == nil {
                function.releaseOrphan(isOrderly: false)
            }
        }
        isRestoring = false
        commit()
        var used = root.numbers
        for function in emulated.values { used.formUnion(function.record?.numbers ?? []) }
        if refusedRecords.isEmpty { kept.retain(used) }
        let time = (Clock.monotonicNanoseconds() - start) / 1000
        log.notice(
            "event=restored functions=\(emulated.count) refused=\(refusedRecords.count) us=\(time)")
    }

    private func restore(
        _ vuid: String, _ number: UInt64, _ entry: JSONValue, _ kept: KeptFiles,
        _ files: RecordCoding.Files
    ) {
        guard card.contains(vuid) else {
            return log.warning("event=function_gone function=\(vuid)")
        }
        let function = EmulatedFunction(vuid, core: self, after: [])
        do throws(HardwareError) {
            let record = try KeptRecord(found: number, in: kept)
            try function.restore(from: record, files: files)
            emulated[vuid] = function
            if let orphan = function.orphan { setController(orphan.controller, of: vuid) }
        } catch {
            // Its descriptors stay where they are: a softdpu that can read the record may come.
            refusedRecords[vuid] = entry
            refusals[vuid] = error.reason
            log.error("event=record_refused function=\(vuid) reason=\"\(error.reason)\"")
        }
    }

    /// EINVAL: what the function was could not be read.
    func checkRestored(_ vuid: String) throws(HardwareError) {
        guard let reason = refusals[vuid] else { return }
        throw HardwareError(
            ErrorNumber.invalid,
            "function \(vuid) is kept as it was, because its record was refused: \(reason). Run "
                + "the softdpu that wrote it, or give up what is kept with `softdpu run --fresh`")
    }

    // --- services that another process of this DPU knew ---

    /// A socket whose other end a service has until it ends.
    struct Lifeline {
        let socket: SharedDescriptor
        let token: UInt64
    }

    /// A service says who it is, and gives an end of a socket that closes with it.
    func watch(_ socket: SharedDescriptor, of holder: UInt64) {
        unwatch(holder)
        do {
            let token = try context.add(socket.number, .nothing) { [unowned self] in
                holderEnded(holder)
            }
            lifelines[holder] = Lifeline(socket: socket, token: token)
        } catch { log.error("event=lifeline_failed holder=\(holder) error=\"\(error)\"") }
        commit()
    }

    func unwatch(_ holder: UInt64) {
        guard let line = lifelines.removeValue(forKey: holder) else { return }
        context.remove(line.socket.number, token: line.token)
    }

    private func holderEnded(_ holder: UInt64) {
        unwatch(holder)
        for function in emulated.values where function.orphan?.holder == holder {
            function.releaseOrphan(isOrderly: false)
        }
        commit()
    }

    /// A service that was there before has taken up what it wants of its leases.
    func settled(_ holder: UInt64) {
        for function in emulated.values where function.orphan?.holder == holder {
            function.releaseOrphan(isOrderly: true)
        }
    }

    func orphanReleased(_ function: EmulatedFunction) { setController(nil, of: function.vuid) }
}
