internal import Card
internal import Hardware
internal import JSONRPC
internal import Logging
internal import Platform
internal import VFIOUser
internal import VirtioPCI

/// A virtio function as a whole PCI device, behind a vfio-user socket beside the vhost-user one:
/// the guest sees the function's own identity and MSI-X table.
///
/// What its driver sets up in the registers becomes the same state that vhost-user messages lead
/// to, so services do not know the difference.
final class VirtioPCIHost: HostConversation {
    unowned let function: EmulatedFunction
    unowned let core: DPUCore
    unowned let face: VirtioFace
    var socket: HostSocket?
    var stream: VFIOUserStream?
    var session: VFIOUserSession?
    var pending: (reply: VFIOUserMessage?, generation: UInt64)?
    var registers: VirtioRegisters?
    /// Generation whose acknowledgement completes a reset of the device status.
    var resetGeneration: UInt64?
    var kicks: [SharedDescriptor] = []
    var lastHost: PCIHostState?
    var state: VirtioFunctionState

    init(
        _ function: EmulatedFunction, core: DPUCore, face: VirtioFace, state: VirtioFunctionState
    ) throws(HardwareError) {
        self.function = function
        self.core = core
        self.face = face
        self.state = state
        socket = try HostSocket(function, ending: "vfio", core: core, conversation: self)
    }

    /// A host that another process has left.
    init(
        _ function: EmulatedFunction, core: DPUCore, face: VirtioFace, kept: JSONValue,
        files: RecordCoding.Files
    ) throws(HardwareError) {
        guard let state = RecordCoding.virtioState(kept["function"], files) else {
            throw RecordCoding.damaged("state of a PCI host")
        }
        self.function = function
        self.core = core
        self.face = face
        self.state = state
        try restore(kept, files)
    }

    var path: String { socket?.path ?? "" }
    var isConnected: Bool { socket?.isConnected ?? false }
    func shutDown() { socket?.close() }
    func disconnect(reason: String) { socket?.disconnect(reason: reason) }

    // --- the host ---

    var closedReason: String? { face.closedReason }

    func hostConnected(on socket: SharedDescriptor, isPeeking: Bool) {
        guard let offer = face.offer, let shape = shape(offer) else { return }
        stream = VFIOUserStream(socket: socket.number, isPeeking: isPeeking)
        session = VFIOUserSession(shape: shape, after: lastHost ?? .initial)
        state = face.freshState(offer)
        registers = VirtioRegisters(
            features: offer.features, configuration: offer.configuration,
            queueCount: offer.queueCount, queueSize: offer.queueSize,
            vectorCount: shape.vectorCount)
        makeKicks(offer)
    }

    private func makeKicks(_ offer: VirtioOffer) {
        while kicks.count < offer.queueCount, let kick = try? EventDescriptor.create() {
            kicks.append(SharedDescriptor(kick))
        }
    }

    func shape(_ offer: VirtioOffer) -> PCIShape? {
        guard let card = try? core.card.function(function.vuid) else { return nil }
        var shape = PCIShape(
            vendorID: card.pci.vendorID, deviceID: card.pci.deviceID, classCode: card.pci.classCode)
        shape.subsystemVendorID = card.pci.subsystemVendorID
        shape.subsystemID = card.pci.subsystemID
        shape.revisionID = card.pci.revisionID
        shape.bars = [0: VirtioRegisters.barByteCount, 4: 0x1_0000]
        shape.vectorCount = card.identity.vectorCount
        shape.vectorTable = PCIShape.Location(bar: 4, offset: 0)
        shape.pendingBits = PCIShape.Location(bar: 4, offset: 0x8000)
        shape.vendorCapabilities = VirtioRegisters.capabilities
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
        if current.state.resetCount != before.state.resetCount { reset() }
        if current.state.generation != before.state.generation { changed(isRemapped: true) }
        let hasChanged = !current.isSame(as: before) || registers != registersBefore
        switch outcome {
        case .nothing: finish(nil, hasChanged)
        case .reply(let answer): finish(answer, hasChanged)
        case .wait(let waiting):
            if function.isDriven {
                pending = (waiting.reply, state.generation)
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

    func hostLeft() {
        lastHost = session?.state
        session = nil
        stream = nil
        pending = nil
        registers = nil
        resetGeneration = nil
        face.pciHostLeft(state)
    }

    // --- from registers to state ---

    /// The device status was set to 0, or the function was reset.
    private func reset() {
        state.epoch += 1
        for index in state.queues.indices { state.queues[index].isRunning = false }
        state.driverFeatures = 0
        resetGeneration = state.generation + 1
        changed(isRemapped: false)
        if !function.isDriven { settle(.max) }
    }

    /// Brings the state up to what registers and PCI side say, and tells the service.
    private func changed(isRemapped: Bool) {
        guard let registers, let host = session?.state else { return }
        state.generation += 1
        let memory = host.isBusMaster ? host.memory : []
        if isRemapped, !memory.isSame(as: state.memory) {
            state.memory = memory
            state.memoryGeneration += 1
        }
        if resetGeneration == nil {
            state.driverFeatures = registers.driverFeatures
            for (index, queue) in registers.queues.enumerated() {
                update(index, queue, host, isRunning: queue.isEnabled && registers.isDriverReady)
            }
        }
        function.publish()
    }

    private func update(
        _ index: Int, _ queue: VirtioRegisters.Queue, _ host: PCIHostState, isRunning: Bool
    ) {
        guard state.queues.indices.contains(index), index < kicks.count else { return }
        var grant = state.queues[index]
        if isRunning && !grant.isRunning {
            grant.run += 1
            // Where a ring begins: a packed one with both wrap counters at 1.
            grant.base = state.driverFeatures & 1 << 34 != 0 ? 0x8000_8000 : 0
        }
        grant.isRunning = isRunning
        grant.size = Int(queue.size)
        grant.descriptorArea = queue.descriptorArea
        grant.driverArea = queue.driverArea
        grant.deviceArea = queue.deviceArea
        grant.kick = kicks[index]
        let vector = Int(queue.vector)
        grant.call = vector < host.vectors.count ? host.vectors[vector] : nil
        state.queues[index] = grant
    }

    // --- the service ---

    /// Everything up to `generation` has been carried out.
    func settle(_ generation: UInt64) {
        if let due = resetGeneration, generation >= due {
            resetGeneration = nil
            registers?.completeReset()
        }
        guard let pending, generation >= pending.generation else { return }
        self.pending = nil
        if let answer = pending.reply { reply(answer) }
        socket?.resume()
    }

    func configure(_ configuration: [UInt8]) {
        registers?.update(configuration: configuration)
        interruptForConfiguration()
    }

    func markNeedsReset() {
        registers?.markNeedsReset()
        interruptForConfiguration()
    }

    private func interruptForConfiguration() {
        guard let registers, let vectors = session?.state.vectors else { return }
        let vector = Int(registers.configurationVector)
        // A full eventfd that blocks would hold every function: such a host loses the notice.
        guard vector < vectors.count, let event = vectors[vector],
            EventDescriptor.hasRoom(event.number)
        else { return }
        EventDescriptor.signal(event.number)
    }
}

extension VirtioPCIHost: PCIDevice {
    func readRegister(bar: Int, offset: Int, byteCount: Int) -> UInt64 {
        bar == 0 ? registers?.read(at: offset, byteCount: byteCount) ?? 0 : 0
    }

    func writeRegister(bar: Int, offset: Int, byteCount: Int, value: UInt64) {
        guard bar == 0, let effect = registers?.write(value, at: offset, byteCount: byteCount)
        else { return }
        switch effect {
        case .nothing: break
        case .changed: changed(isRemapped: false)
        case .reset: reset()
        case .notified(let queue):
            if queue < kicks.count { EventDescriptor.signal(kicks[queue].number) }
        }
    }
}

extension [MemoryGrant] {
    fileprivate func isSame(as other: [MemoryGrant]) -> Bool {
        count == other.count
            && zip(self, other).allSatisfy {
                $0.guestAddress == $1.guestAddress && $0.byteCount == $1.byteCount
                    && $0.fileOffset == $1.fileOffset && $0.file === $1.file
            }
    }
}
