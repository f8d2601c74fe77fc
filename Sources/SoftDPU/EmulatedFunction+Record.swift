internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform

/// What a function leaves to the next process of its DPU.
extension EmulatedFunction {
    /// A lease whose service has yet to say whether it is done.
    struct Orphan {
        let holder: UInt64
        let controller: String
    }

    // --- writing ---

    /// A host is about to connect.
    /// - Returns: whether its messages are taken by the journal.
    func prepareForHost() throws(SystemError) -> Bool {
        guard core.kept != nil else { return false }
        if journal == nil { journal = try HostJournal(after: record?.mark.message ?? 0) }
        journal?.reset()
        answer = nil
        return true
    }

    /// Records what the function is now.
    func commit() { write(message: journal.map { ($0.number, 0) }) }

    /// Records what a host's message of `byteCount` bytes has led to.
    func commit(message byteCount: Int, answer: HostAnswer?, hasChanged: Bool) {
        guard let journal else { return }
        let isSpecial = answer.map { !$0.files.isEmpty } ?? false
        let wasSpecial = self.answer != nil
        self.answer = isSpecial ? answer : nil
        let message = (number: journal.number, byteCount: byteCount)
        if hasChanged || isSpecial || wasSpecial {
            write(message: message)
        } else {
            record?.mark(message)
        }
    }

    private func write(message: (number: UInt64, byteCount: Int)?) {
        guard let kept = core.kept, face != nil else { return }
        if record == nil {
            do {
                record = try KeptRecord(in: kept)
                core.commit()
            } catch { return core.log.error("event=record_failed function=\(vuid)") }
        }
        record?.write(message) { number in encode(number: number) }
    }

    private func encode(number: (SharedDescriptor) -> UInt64) -> JSONObject {
        [
            "kind": .string(kindOfFace?.rawValue ?? ""),
            "predecessors": .array(predecessors.map { JSONValue($0) }),
            "holder": (lease?.peer.holder ?? orphan?.holder).map { JSONValue($0) } ?? .null,
            "controller": (lease?.controller ?? orphan?.controller).map { JSONValue($0) } ?? .null,
            "last_lease": lastLease.map { JSONValue($0) } ?? .null,
            "pipes": journal?.encode(number: number) ?? .null,
            "answer": answer.map { answer in
                [
                    "bytes": JSONValue(hex: answer.bytes),
                    "files": .array(answer.files.map { JSONValue(number($0)) }),
                ]
            } ?? .null,
            "face": face.map { .object($0.encode(number: number)) } ?? .null,
        ]
    }

    private var kindOfFace: FunctionIdentity.Kind? {
        switch face {
        case is VirtioFace: .virtioBlk
        case is NVMeFace: .nvme
        default: nil
        }
    }

    // --- reading ---

    /// Becomes what another process has left, hosts included. EINVAL: the record makes no sense.
    func restore(from record: KeptRecord, files: [UInt64: SharedDescriptor]) throws(HardwareError) {
        let body = try record.body()
        let file: (UInt64?) -> SharedDescriptor? = { $0.flatMap { files[$0] } }
        guard let predecessors = body["predecessors"]?.array,
            let kind = body.text("kind").flatMap(FunctionIdentity.Kind.init(rawValue:)),
            let face = body["face"]
        else {
            throw HardwareError(ErrorNumber.invalid, "record does not say what the function is")
        }
        self.predecessors = predecessors.compactMap(\.unsigned)
        if let holder = body.unsigned("holder") {
            orphan = Orphan(holder: holder, controller: body.text("controller") ?? "")
        }
        lastLease = body.unsigned("last_lease")
        journal = HostJournal(body["pipes"], number: record.mark.message, file: file)
        if let bytes = body["answer"]?.bytes("bytes") {
            let numbers = body["answer"]?["files"]?.array ?? []
            answer = HostAnswer(bytes: bytes, files: numbers.compactMap { file($0.unsigned) })
        }
        self.face =
            switch kind {
            case .virtioBlk: try VirtioFace(self, core: core, kept: face, files: files)
            case .nvme: try NVMeFace(self, core: core, kept: face, files: files)
            }
        self.record = record
    }

    /// Answers what was being answered, and goes on. Restored functions are all there.
    func goOn() {
        guard let record else { return }
        let byteCount = Int(clamping: record.mark.messageByteCount)
        face?.goOn(after: byteCount, answer)
        commit()
    }

    /// The service that had the lease is gone, or has said that it is done.
    /// - Parameter isOrderly: nothing of it is under way.
    func releaseOrphan(isOrderly: Bool) {
        guard let orphan else { return }
        self.orphan = nil
        if isOrderly { predecessors = [] } else { predecessors.append(orphan.holder) }
        core.orphanReleased(self)
        settleWaiters()
        face?.leaseEnded()
        commit()
    }
}
