import Hardware
import Platform

/// A lease whose host never sets anything up.
final class TestPort: TestLease, VirtioFunctionPort {
    let identity: FunctionIdentity
    let startsAsStandby: Bool
    let functionMemory: SharedDescriptor
    let states: AsyncStream<VirtioFunctionState>
    private let feed: AsyncStream<VirtioFunctionState>.Continuation
    let manager: TestManager

    init(
        identity: FunctionIdentity, functionMemory: SharedDescriptor, startsAsStandby: Bool,
        manager: TestManager
    ) {
        self.identity = identity
        self.startsAsStandby = startsAsStandby
        self.functionMemory = functionMemory
        self.manager = manager
        (states, feed) = AsyncStream.makeStream()
    }

    func acknowledge(generation: UInt64, bases: [Int: UInt32]) {}
    func update(configuration: [UInt8]) {}
    func fail(queue: Int, reason: String) {}
    func end() { feed.finish() }
}

/// A lease of an NVMe function whose host sets up nothing.
final class TestNVMePort: TestLease, NVMeFunctionPort {
    let identity: FunctionIdentity
    let startsAsStandby: Bool
    let functionMemory: SharedDescriptor
    let doorbells: SharedDescriptor
    let doorbellMode = DoorbellMode.trapped
    let kicks: [SharedDescriptor]
    let states: AsyncStream<NVMeFunctionState>
    private let feed: AsyncStream<NVMeFunctionState>.Continuation
    let manager: TestManager

    init(
        identity: FunctionIdentity, functionMemory: SharedDescriptor, doorbells: SharedDescriptor,
        kicks: [SharedDescriptor], startsAsStandby: Bool, manager: TestManager
    ) {
        self.identity = identity
        self.startsAsStandby = startsAsStandby
        self.functionMemory = functionMemory
        self.doorbells = doorbells
        self.kicks = kicks
        self.manager = manager
        (states, feed) = AsyncStream.makeStream()
        // A function without a driver.
        var state = NVMeFunctionState(
            generation: 1, epoch: 1, memoryGeneration: 1, memory: [], configuration: 0,
            adminQueueAttributes: 0, adminSubmissionQueue: 0, adminCompletionQueue: 0, status: 0,
            vectors: [])
        state.standing = .standby
        if startsAsStandby { feed.yield(state) }
    }

    func acknowledge(generation: UInt64, status: UInt32) {}
    func fail(reason: String) {}
    func end() { feed.finish() }
}

/// What leases of both kinds do to the card.
protocol TestLease: FunctionPort {
    var manager: TestManager { get }
    func end()
}

extension TestLease {
    var lease: UInt64 { manager[identity.vuid]?.lastLease ?? 0 }
    var holder: UInt64 { 1 }
    var predecessors: [UInt64] { [] }
    var linkChanges: AsyncStream<LinkChange> { AsyncStream { $0.finish() } }
    var successor: String? { manager.edit { $0.listeners[identity.vuid] } }
    var hostSocketPath: String { "/run/\(identity.vuid).sock" }

    func checkClose(force: Bool) async throws(HardwareError) {
        guard let listing = manager[identity.vuid] else {
            throw HardwareError(ErrorNumber.noDevice, "function \(identity.vuid) does not exist")
        }
        if let refusal = manager.edit({ $0.closeRefusal }) { throw refusal }
        if !force, identity.vfIndex != nil, listing.isEnabled {
            throw HardwareError(ErrorNumber.busy, "SR-IOV is enabled")
        }
    }

    func listener() async throws(HardwareError) -> String? { successor }
    func handOver(offering: Bool) async throws(HardwareError) -> String? { successor }
    func withdrawOffer() async throws(HardwareError) -> String? { nil }
    func setObstacle(_ reason: String?) async {}
    func stopStandingBy() async throws(HardwareError) -> Bool { true }

    func close(releasesVectors: Bool) async {
        end()
        if startsAsStandby { return }
        manager.edit { model in
            guard let index = model.index(identity.vuid) else { return }
            model.functions[index].controller = nil
            if releasesVectors { try? model.setVectors(index, 0) }
        }
    }
}
