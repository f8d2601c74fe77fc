internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Memory
internal import NVMe
internal import Platform
internal import VFIOUser

/// An NVMe function as its host sees it: a PCI device behind a vfio-user socket.
///
/// Its registers and doorbells are answered here, whether or not a service drives it. A service
/// learns of every change and says when it has carried it out; until then a reset stays visible in
/// CSTS.RDY, and a message that takes memory away stays unanswered.
final class NVMeFace: HostFace, HostConversation {
    unowned let function: EmulatedFunction
    unowned let core: DPUCore
    var socket: HostSocket?
    var stream: VFIOUserStream?
    var session: VFIOUserSession?
    /// An answer, if one is due, that waits for the service to reach a generation.
    var pending: (reply: VFIOUserMessage?, generation: UInt64)?
    var offer: NVMeOffer?
    var registers = Registers(queueSize: 2)
    var memory: SharedDescriptor?
    var doorbells: Doorbells?
    var kicks: [SharedDescriptor] = []
    /// Of the host that was there last.
    var lastHost: PCIHostState?

    var generation: UInt64 = 0
    var epoch: UInt64 = 0
    /// Epoch that CSTS speaks of: a reset that is pending leaves the older one's there.
    var statusEpoch: UInt64 = 0
    var memoryGeneration: UInt64 = 0
    /// By vector, the eventfds that the relay raises.
    var calls: [SharedDescriptor?] = []

    /// The page that doorbells are stored in, by the host or for it.
    struct Doorbells {
        let file: SharedDescriptor
        private let mapping: Mapping

        /// Those that another process has left.
        init(kept file: SharedDescriptor) throws(SystemError) {
            self.file = file
            mapping = try Mapping(file.number, byteCount: DoorbellPage.fileByteCount)
        }

        init() throws(SystemError) {
            file = SharedDescriptor(
                try MemoryFile.create(
                    name: "doorbells", byteCount: UInt64(DoorbellPage.fileByteCount)))
            mapping = try Mapping(file.number, byteCount: DoorbellPage.fileByteCount)
        }

        var page: SharedBytes {
            mapping.bytes.part(at: DoorbellPage.offset, byteCount: DoorbellPage.byteCount)
        }

        func clear() { page.segment.fill(with: 0) }
    }

    init(_ function: EmulatedFunction, core: DPUCore) throws(HardwareError) {
        self.function = function
        self.core = core
        socket = try HostSocket(function, core: core, conversation: self)
    }

    /// A face that another process has left.
    init(
        _ function: EmulatedFunction, core: DPUCore, kept: JSONValue, files: RecordCoding.Files
    ) throws(HardwareError) {
        self.function = function
        self.core = core
        try restore(kept, files)
    }

    var hostSocketPath: String { socket?.path ?? "" }
    var isHostConnected: Bool { socket?.isConnected ?? false }
    var isDriverRunning: Bool { registers.isReady }
    private var mode: DoorbellMode { core.inventory.doorbellMode(of: function.vuid) }

    func shutDown() { socket?.close() }

    // --- leases ---

    func check(_ wanted: FunctionOffer) throws(HardwareError) {
        guard case .nvme(let wanted) = wanted, let offer, registers.isEnabled else { return }
        if wanted.queueCount < offer.queueCount {
            throw mismatch("num_queues", "is \(wanted.queueCount), was \(offer.queueCount)")
        }
        if wanted.queueSize != offer.queueSize {
            throw mismatch("queue depth", "is \(wanted.queueSize), was \(offer.queueSize)")
        }
        if wanted.memoryByteCount != offer.memoryByteCount {
            throw mismatch(
                "function memory",
                "has \(wanted.memoryByteCount) bytes, had \(offer.memoryByteCount)")
        }
    }

    private func mismatch(_ field: String, _ text: String) -> HardwareError {
        HardwareError(
            ErrorNumber.invalid,
            "\(field): function \(function.vuid) has a running driver; the new controller's "
                + "\(field) \(text)")
    }

    func adopt(_ wanted: FunctionOffer) throws(HardwareError) -> [SharedDescriptor] {
        guard case .nvme(let wanted) = wanted else {
            throw HardwareError(
                ErrorNumber.invalid, "function \(function.vuid) is not an NVMe function")
        }
        do {
            let doorbells = try doorbells ?? Doorbells()
            let keeps = memory != nil && wanted.memoryByteCount == offer?.memoryByteCount
            let kept = keeps ? memory : nil
            let memory =
                try kept
                ?? SharedDescriptor(
                    MemoryFile.create(name: "nvme", byteCount: UInt64(wanted.memoryByteCount)))
            while kicks.count <= wanted.queueCount {
                kicks.append(SharedDescriptor(try EventDescriptor.create()))
            }
            self.doorbells = doorbells
            self.memory = memory
        } catch {
            let code = (error as? SystemError)?.code ?? ErrorNumber.noMemory
            throw HardwareError(code, "function memory: \(error)")
        }
        if !registers.isEnabled { registers.offer(queueSize: wanted.queueSize) }
        offer = wanted
        guard let memory, let doorbells else { return [] }
        return [memory, doorbells.file] + kicks.prefix(wanted.queueCount + 1)
    }

    func files(
        forStandby wanted: FunctionOffer
    ) throws(HardwareError) -> [SharedDescriptor] {
        guard case .nvme(let wanted) = wanted, let memory, let doorbells, let offer,
            wanted.queueCount == offer.queueCount
        else {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(function.vuid) is driven with \(offer?.queueCount ?? 0) I/O queues; a "
                    + "listener must have as many, so give its num_queues")
        }
        return [memory, doorbells.file] + kicks.prefix(wanted.queueCount + 1)
    }

    /// Nothing is in flight: what waits is complete.
    func leaseEnded() { settleAbsent() }

    private func settleAbsent() {
        settleKeys(.max)
        if !registers.isEnabled {
            becameDisabled()
        } else if registers.wantsShutdown {
            registers.acknowledge(status: registers.status | Registers.shutdownComplete)
        }
        settle(.max)
    }

    private func becameDisabled() {
        statusEpoch = epoch
        registers.acknowledge(status: 0)
        doorbells?.clear()
    }

    // --- the host ---

    var closedReason: String? { function.closedReason ?? (offer == nil ? "no_controller" : nil) }

    func hostConnected(on socket: SharedDescriptor, isPeeking: Bool) {
        guard let shape else { return }
        stream = VFIOUserStream(socket: socket.number, isPeeking: isPeeking)
        session = VFIOUserSession(shape: shape, after: lastHost ?? .initial)
    }

    var shape: PCIShape? {
        guard let card = try? core.card.function(function.vuid), let doorbells else { return nil }
        var shape = PCIShape(
            vendorID: card.pci.vendorID, deviceID: card.pci.deviceID,
            classCode: card.pci.classCode)
        shape.subsystemVendorID = card.pci.subsystemVendorID
        shape.subsystemID = card.pci.subsystemID
        shape.revisionID = card.pci.revisionID
        shape.bars = [0: 0x4000, 4: 0x1_0000]
        shape.vectorCount = card.identity.vectorCount
        shape.vectorTable = PCIShape.Location(bar: 4, offset: 0)
        shape.pendingBits = PCIShape.Location(bar: 4, offset: 0x8000)
        if mode == .mapped {
            shape.maps = [
                MappableArea(
                    bar: 0, offset: UInt64(Registers.byteCount),
                    byteCount: UInt64(DoorbellPage.byteCount), file: doorbells.file,
                    fileOffset: UInt64(DoorbellPage.offset))
            ]
        }
        return shape
    }

    func takeMessage() throws(HostReadError) -> HostRead {
        do throws(VFIOUserError) {
            switch try stream?.next() ?? .closed {
            case .incomplete: return .incomplete
            case .closed: return .closed
            case .message(let message):
                try take(message)
                return .message
            }
        } catch { throw HostReadError(reason: error.reason) }
    }

    private func take(_ message: VFIOUserMessage) throws(VFIOUserError) {
        guard var current = session else { return }
        let before = current
        let registersBefore = registers
        let outcome = try current.handle(message, device: self)
        session = current
        let (old, new) = (before.state, current.state)
        if new.resetCount != old.resetCount { reset() }
        if new.memoryGeneration != old.memoryGeneration || new.isBusMaster != old.isBusMaster {
            memoryGeneration += 1
        }
        if new.generation != old.generation || registers != registersBefore { changed() }
        let hasChanged = !current.isSame(as: before) || registers != registersBefore
        switch outcome {
        case .nothing: finish(nil, hasChanged)
        case .reply(let answer): finish(answer, hasChanged)
        case .wait(let waiting):
            if function.isDriven {
                pending = (waiting.reply, generation)
                finish(nil, true)
                socket?.pause()
            } else {
                finish(waiting.reply, hasChanged)
            }
        }
    }

    /// The message that `stream` has given is done.
    private func finish(_ answer: VFIOUserMessage?, _ hasChanged: Bool) {
        socket?.finish(
            stream?.messageByteCount ?? 0, answer.map(HostAnswer.init), hasChanged: hasChanged)
    }

    /// The answer that was due.
    private func reply(_ message: VFIOUserMessage) {
        socket?.finish(0, HostAnswer(message), hasChanged: true)
    }

    /// The host has gone: nothing that it has set up counts any more.
    func hostLeft() {
        lastHost = session?.state
        session = nil
        stream = nil
        pending = nil
        reset()
        memoryGeneration += 1
        changed()
    }

    /// As after power-on; the doorbells follow when the service is done with them.
    private func reset() {
        registers.reset(keepingStatus: false)
        epoch += 1
    }

    func reset(reason: String) {
        if isHostConnected {
            socket?.disconnect(reason: reason)
        } else {
            reset()
            changed()
        }
    }

    private func changed() {
        generation += 1
        function.publish()
        if !function.isDriven { settleAbsent() }
    }

    // --- the service ---

    func send(to peer: ControlPeer, lease: UInt64) {
        let host = session?.state
        var state = NVMeFunctionState(
            generation: generation, epoch: epoch, memoryGeneration: memoryGeneration,
            memory: host?.isBusMaster ?? false ? host?.memory ?? [] : [],
            configuration: registers.configuration,
            adminQueueAttributes: registers.adminQueueAttributes,
            adminSubmissionQueue: registers.adminSubmissionQueue,
            adminCompletionQueue: registers.adminCompletionQueue,
            status: statusEpoch == epoch ? registers.status : 0,
            vectors: host?.vectors ?? [])
        if peer.isRelayed {
            // Who stands by has nothing to reach.
            let serves = function.lease?.number == lease
            state.remote =
                serves ? grants(state) : RemoteGrants(refusal: "the lease stands by")
            if serves { followCalls(state.vectors) }
        }
        peer.send(lease: lease) { number in ControlCoding.encode(state, number: number) }
    }

    func acknowledged(_ body: JSONValue) {
        let reached = body.unsigned("generation") ?? 0
        // Before the host reads that access has ended.
        settleKeys(reached)
        if reached == generation {
            statusEpoch = epoch
            if registers.isEnabled {
                let status = UInt32(truncatingIfNeeded: body.unsigned("csts") ?? 0)
                // A failed controller stays failed until its reset.
                registers.acknowledge(status: status | registers.status & Registers.fatal)
            } else {
                becameDisabled()
            }
            core.machineDriver(of: function.vuid, isRunning: isDriverRunning)
        }
        settle(reached)
    }

    private func settle(_ generation: UInt64) {
        guard let pending, generation >= pending.generation else { return }
        self.pending = nil
        if let answer = pending.reply { reply(answer) }
        socket?.resume()
    }

    func take(_ notice: String, _ body: JSONValue) {
        guard notice == "fail" else { return }
        let reason = body.text("reason") ?? "unknown"
        core.log.error(
            "event=controller_failed function=\(function.vuid) reason=\"\(reason)\"")
        registers.fail()
    }
}

extension NVMeFace: PCIDevice {
    func readRegister(bar: Int, offset: Int, byteCount: Int) -> UInt64 {
        guard bar == 0 else { return 0 }
        if offset < Registers.byteCount {
            return registers.read(at: offset, byteCount: byteCount)
        }
        // Doorbells are write-only (NVMe Base 2.0 §3.1.3.12): reads give anything.
        return 0
    }

    func writeRegister(bar: Int, offset: Int, byteCount: Int, value: UInt64) {
        guard bar == 0 else { return }
        if offset >= Registers.byteCount {
            return ring(at: offset - Registers.byteCount, byteCount: byteCount, value)
        }
        if registers.write(value, at: offset, byteCount: byteCount) == .reset { epoch += 1 }
    }

    /// Stores a doorbell's value for the service, and wakes the queue.
    private func ring(at offset: Int, byteCount: Int, _ value: UInt64) {
        let queue = offset / 8
        guard byteCount == 4, let doorbells, queue < kicks.count else { return }
        // Before the kick: whoever it wakes sees the value.
        doorbells.page.storeRelease32(UInt32(truncatingIfNeeded: value), at: offset)
        EventDescriptor.signal(kicks[queue].number)
    }
}
