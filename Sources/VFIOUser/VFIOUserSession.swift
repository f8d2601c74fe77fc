internal import CWire
internal import Memory
internal import Platform

/// One client's conversation with a PCI function: a state machine without a socket.
///
/// It turns messages into what the host sees and what the device may reach. Messages that take
/// access away from the device are answered only after the service has acknowledged the new state
/// (design, "Reset rule"); meanwhile no further message of this client is looked at.
public struct VFIOUserSession {
    /// What to do after a message.
    public enum Outcome {
        case nothing
        case reply(VFIOUserMessage)
        /// Answer when the service has acknowledged the state's generation.
        case wait(Pending)
    }

    /// An answer that waits for the service.
    public struct Pending {
        /// Nil after a posted message: the wait alone matters.
        public let reply: VFIOUserMessage?
        /// The state that must have been acknowledged.
        public let generation: UInt64
    }

    /// What a command that was carried out is answered with.
    struct Answer {
        var payload: [UInt8] = []
        var descriptors: [SharedDescriptor] = []
        var mustWait = false
    }

    /// Most regions of memory at a time: `max_dma_maps`.
    public static let regionLimit = 512

    public internal(set) var state: PCIHostState
    /// Commands that were refused, and the last refusal: for a log that a client cannot flood.
    public private(set) var refusalCount: UInt64 = 0
    public private(set) var lastRefusal: VFIOUserError?
    let shape: PCIShape
    var configuration: ConfigurationSpace
    var vectorTable: VectorTable
    var hasVersion = false

    /// A fresh client: nothing of an earlier one counts, its memory and interrupts are gone and the
    /// function has been reset. The three counters go on from `previous`.
    public init(shape: PCIShape, after previous: PCIHostState) {
        shape.check()
        self.shape = shape
        configuration = ConfigurationSpace(shape)
        vectorTable = VectorTable(count: shape.vectorCount)
        state = PCIHostState(
            generation: previous.generation + 1, resetCount: previous.resetCount + 1,
            memoryGeneration: previous.memoryGeneration + 1, memory: [], unreachable: [],
            isBusMaster: false, vectors: Array(repeating: nil, count: shape.vectorCount))
    }

    /// Takes one message. An error means that the connection must end; a command that cannot be
    /// carried out is answered with its errno and changes nothing.
    public mutating func handle(
        _ message: VFIOUserMessage, device: some PCIDevice
    ) throws(VFIOUserError) -> Outcome {
        guard !message.isReply else {
            throw VFIOUserError(ErrorNumber.invalid, "a reply to a question that nobody asked")
        }
        guard hasVersion else {
            let reply = try negotiate(message)
            hasVersion = true
            return .reply(reply)
        }
        let answer: Answer
        do throws(VFIOUserError) {
            answer = try perform(message, device)
        } catch {
            refusalCount += 1
            lastRefusal = error
            return message.isPosted ? .nothing : .reply(message.reply(refusal: error.code))
        }
        let reply =
            message.isPosted
            ? nil : message.reply(answer.payload, descriptors: answer.descriptors)
        if answer.mustWait {
            return .wait(Pending(reply: reply, generation: state.generation))
        }
        guard let reply else { return .nothing }
        return .reply(reply)
    }

    /// The first message. We speak 0.0, and so does every client of major version 0.
    private func negotiate(_ message: VFIOUserMessage) throws(VFIOUserError) -> VFIOUserMessage {
        guard message.command == VFIOUserCommand.version.rawValue, !message.isPosted,
            message.descriptors.isEmpty
        else {
            throw VFIOUserError(
                ErrorNumber.invalid, "command \(message.command) before the protocol version")
        }
        let proposal = try VersionProposal(message.payload)
        guard proposal.major == VersionProposal.ours.major else {
            throw VFIOUserError(
                ErrorNumber.notSupported,
                "protocol version \(proposal.major).\(proposal.minor), only 0 is known")
        }
        return message.reply(VersionProposal.ours.encoded())
    }

    private mutating func perform(
        _ message: VFIOUserMessage, _ device: any PCIDevice
    ) throws(VFIOUserError) -> Answer {
        guard let command = VFIOUserCommand(rawValue: message.command) else {
            throw VFIOUserError(
                ErrorNumber.notSupported, "command \(message.command) is not supported")
        }
        guard message.descriptors.isEmpty || command == .mapMemory || command == .setInterrupts
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "\(command) with \(message.descriptors.count) descriptors; it takes none")
        }
        switch command {
        case .version:
            throw VFIOUserError(ErrorNumber.invalid, "the protocol version is settled")
        case .mapMemory: return try mapMemory(message)
        case .unmapMemory: return try unmapMemory(message)
        case .getDeviceInfo: return try deviceInfo(message)
        case .getRegionInfo: return try regionInfo(message)
        case .getInterruptInfo: return try interruptInfo(message)
        case .setInterrupts: return try setInterrupts(message)
        case .readRegion: return try readRegion(message, device)
        case .writeRegion: return try writeRegion(message, device)
        case .writeRegions: return try writeRegions(message, device)
        case .resetDevice: return try resetDevice(message)
        case .getRegionDescriptors, .readMemory, .writeMemory:
            throw VFIOUserError(ErrorNumber.notSupported, "\(command) is not supported")
        }
    }

    private mutating func resetDevice(_ message: VFIOUserMessage) throws(VFIOUserError) -> Answer {
        guard message.payload.isEmpty else {
            throw VFIOUserError(
                ErrorNumber.invalid, "a reset with \(message.payload.count) bytes")
        }
        reset()
        return Answer(mustWait: true)
    }

    /// Configuration space and MSI-X table start again; memory and eventfds are the host's.
    mutating func reset() {
        configuration.reset()
        vectorTable.reset()
        state.isBusMaster = false
        state.resetCount += 1
        state.generation += 1
    }
}
