import Hardware
import Platform
import Synchronization

/// A small card: PFs with VFs and a pool, hot-plug PFs, and memory files. Its host does what the
/// test tells it.
final class TestManager: EmulationManager {
    struct Model {
        var functions: [FunctionListing] = []
        var files: [String: SharedDescriptor] = [:]
        /// State of a hot-plug PF after `plug` and `unplug`.
        var afterPlug = HotplugState.powerOn
        var afterUnplug = HotplugState.powerOff
        var needsController = true
        var portCount = 2
        /// The next opens fail.
        var failingOpens = 0
        /// What `checkClose` answers.
        var closeRefusal: HardwareError?
        var lastOffer: VirtioOffer?
        var lastRequest: FunctionRequest?
        var queries = 0
        var leaseCount: UInt64 = 0
        /// VUIDs in the order of their opens.
        var opened: [String] = []
        /// Functions whose controllers are another service's, and who stands by here.
        var foreign: Set<String> = []
        var listeners: [String: String] = [:]
    }

    let name = "mlx5_0"
    let isVolatile: Bool
    let dpu: UInt64 = 7
    let model = Mutex(Model())

    init(isVolatile: Bool = true) { self.isVolatile = isVolatile }

    var fileNames: [String] { model.withLock { $0.files.keys.sorted() } }

    func edit<Result: Sendable>(_ change: (inout Model) -> Result) -> Result {
        model.withLock { change(&$0) }
    }

    func edit(_ vuid: String, _ change: (inout FunctionListing) -> Void) {
        model.withLock { model in
            guard let index = model.index(vuid) else { return }
            change(&model.functions[index])
        }
    }

    subscript(vuid: String) -> FunctionListing? {
        model.withLock { model in model.index(vuid).map { model.functions[$0] } }
    }

    /// Takes a function out of the card, whoever has it.
    func lose(_ vuid: String) {
        edit { $0.functions.removeAll { $0.identity.vuid == vuid } }
    }

    /// The services that were connected have died.
    func loseServices() {
        edit { model in
            for index in model.functions.indices { model.functions[index].controller = nil }
            model.opened = []
        }
    }

    /// A static PF `<serial>S0D0F<n>` with VFs of so many vectors.
    @discardableResult
    func addPF(vfs: [Int] = [], kind: FunctionIdentity.Kind = .virtioBlk) -> String {
        model.withLock { model in
            let index = model.functions.count { $0.identity.vfIndex == nil }
            let pf = model.add(kind, index, vf: nil, vectors: 9)
            if !vfs.isEmpty { model.functions[model.functions.count - 1].freeVectorCount = 0 }
            for (vf, vectors) in vfs.enumerated() {
                _ = model.add(kind, index, vf: vf, vectors: vectors)
                model.functions[model.functions.count - 1].isEnabled = false
            }
            return pf
        }
    }

    // --- the contract ---

    func rdmaDevices() async throws(HardwareError) -> [RDMADeviceListing] {
        [
            RDMADeviceListing(
                name: "mlx5_2", kind: "SF", pageByteCount: 65536, barKiB: 256,
                advertisedQueuePairs: 131_072, usableQueuePairs: 32, queuePairCount: 2)
        ]
    }

    func functions() async throws(HardwareError) -> [FunctionListing] {
        model.withLock { model in
            model.queries += 1
            return model.functions.map { function in
                var function = function
                if function.identity.vfIndex != nil {
                    let pool = model.pool(of: function.identity)
                    function.vectorRange = 2...max(2, function.identity.vectorCount + pool)
                } else if function.hotplugState == .powerOff {
                    function.vectorRange = 2...65
                }
                return function
            }
        }
    }

    func open(
        vuid: String, offer: VirtioOffer
    ) async throws(HardwareError) -> any VirtioFunctionPort {
        let identity = try model.withLock { model throws(HardwareError) in
            model.lastOffer = offer
            return try model.open(
                vuid, .virtioBlk, offer.controller, queueCount: offer.queueCount,
                vectors: offer.vectorCount, standsBy: offer.standsBy)
        }
        do {
            let memory = try FunctionMemory.create(queueCount: 64, queueSize: 256)
            return TestPort(
                identity: identity, functionMemory: memory,
                startsAsStandby: offer.standsBy && model.withLock { $0.foreign.contains(vuid) },
                manager: self)
        } catch { throw HardwareError(error.code, "\(error)") }
    }

    func open(
        vuid: String, offer: NVMeOffer
    ) async throws(HardwareError) -> any NVMeFunctionPort {
        let identity = try model.withLock { model throws(HardwareError) in
            try model.open(
                vuid, .nvme, offer.controller, queueCount: offer.queueCount,
                vectors: offer.vectorCount, standsBy: offer.standsBy)
        }
        do {
            let memory = try MemoryFile.create(
                name: "nvme", byteCount: UInt64(offer.memoryByteCount))
            let doorbells = try MemoryFile.create(name: "doorbells", byteCount: 8192)
            let kicks = try (0...offer.queueCount).map { _ in
                SharedDescriptor(try EventDescriptor.create())
            }
            return TestNVMePort(
                identity: identity, functionMemory: SharedDescriptor(memory),
                doorbells: SharedDescriptor(doorbells), kicks: kicks,
                startsAsStandby: offer.standsBy && model.withLock { $0.foreign.contains(vuid) },
                manager: self)
        } catch { throw HardwareError(ErrorNumber.noMemory, "\(error)") }
    }

    func createFunction(
        _ request: FunctionRequest
    ) async throws(HardwareError) -> FunctionIdentity {
        try model.withLock { model throws(HardwareError) in
            model.lastRequest = request
            let count = model.functions.count { $0.hotplugState != nil }
            guard count < model.portCount else {
                throw HardwareError(ErrorNumber.noSpace, "all \(count) ports are taken")
            }
            let index = model.functions.count { $0.identity.vfIndex == nil }
            let vectors = request.vectorCount ?? 9
            let vuid = model.add(request.kind, index, vf: nil, vectors: vectors, isHotplug: true)
            if request.isPlugged, let index = model.index(vuid) {
                model.functions[index].hotplugState = .powerOn
            }
            return model.functions.first { $0.identity.vuid == vuid }!.identity
        }
    }

    func destroyFunction(vuid: String, force: Bool) async throws(HardwareError) {
        try model.withLock { model throws(HardwareError) in
            let index = try model.find(vuid)
            let function = model.functions[index]
            if function.controller != nil || (!force && function.hotplugState != .powerOff) {
                throw HardwareError(ErrorNumber.busy, "function \(vuid) is in use")
            }
            model.functions.remove(at: index)
        }
    }

    func plug(vuid: String) async throws(HardwareError) {
        try model.withLock { model throws(HardwareError) in
            let index = try model.find(vuid)
            if model.needsController, model.functions[index].controller == nil {
                throw HardwareError(ErrorNumber.busy, "function \(vuid) has no controller")
            }
            model.functions[index].hotplugState = model.afterPlug
        }
    }

    func unplug(vuid: String) async throws(HardwareError) {
        try model.withLock { model throws(HardwareError) in
            model.functions[try model.find(vuid)].hotplugState = model.afterUnplug
        }
    }

    func reclaimVectors(vuid: String) async throws(HardwareError) {
        try model.withLock { model throws(HardwareError) in
            let pf = try model.find(vuid)
            let number = model.functions[pf].identity.pfIndex
            let vfs = model.functions.indices.filter {
                model.functions[$0].identity.pfIndex == number && $0 != pf
            }
            if vfs.contains(where: { model.functions[$0].controller != nil }) {
                throw HardwareError(ErrorNumber.busy, "a VF of \(vuid) has a controller")
            }
            for vf in vfs {
                model.functions[pf].freeVectorCount! += model.functions[vf].identity.vectorCount
                model.functions[vf].identity.vectorCount = 0
            }
        }
    }

    func setVectors(vuid: String, count: Int) async throws(HardwareError) {
        try model.withLock { model throws(HardwareError) in
            try model.setVectors(try model.find(vuid), count)
        }
    }

    func memoryFile(
        _ name: String, byteCount: UInt64
    ) async throws(HardwareError) -> SharedDescriptor {
        if let file = model.withLock({ $0.files[name] }) { return file }
        do {
            let file = SharedDescriptor(try MemoryFile.create(name: name, byteCount: byteCount))
            model.withLock { $0.files[name] = file }
            return file
        } catch { throw HardwareError(error.code, "\(error)") }
    }

    func deleteMemoryFile(_ name: String) async throws(HardwareError) {
        model.withLock { $0.files[name] = nil }
    }
}

extension TestManager.Model {
    func index(_ vuid: String) -> Int? { functions.firstIndex { $0.identity.vuid == vuid } }

    func find(_ vuid: String) throws(HardwareError) -> Int {
        if let index = index(vuid) { return index }
        throw HardwareError(ErrorNumber.noDevice, "function \(vuid) does not exist")
    }

    func pf(of vf: FunctionIdentity) -> Int? {
        functions.firstIndex {
            $0.identity.pfIndex == vf.pfIndex && $0.identity.kind == vf.kind
                && $0.identity.vfIndex == nil
        }
    }

    func pool(of vf: FunctionIdentity) -> Int {
        pf(of: vf).flatMap { functions[$0].freeVectorCount } ?? 0
    }

    mutating func add(
        _ kind: FunctionIdentity.Kind, _ index: Int, vf: Int?, vectors: Int, isHotplug: Bool = false
    ) -> String {
        let ending = vf.map { "VF\($0 + 1)" } ?? ""
        let vuid = "T\(kind.rawValue)S\(isHotplug ? 1 : 0)D0F\(index)\(ending)"
        var listing = FunctionListing(
            identity: FunctionIdentity(
                kind: kind, vuid: vuid, vhcaID: functions.count + 2, pfIndex: index, vfIndex: vf,
                bdf: "00:00.0", isHotplugged: isHotplug, vectorCount: vectors, queueLimit: 64),
            controller: nil, hostSocketPath: nil, isHostConnected: false)
        if isHotplug { listing.hotplugState = .powerOff }
        functions.append(listing)
        return vuid
    }

    mutating func open(
        _ vuid: String, _ kind: FunctionIdentity.Kind, _ controller: String, queueCount: Int,
        vectors: Int?, standsBy: Bool
    ) throws(HardwareError) -> FunctionIdentity {
        let index = try find(vuid)
        if standsBy, foreign.contains(vuid) { return functions[index].identity }
        if failingOpens > 0 {
            failingOpens -= 1
            throw HardwareError(ErrorNumber.inputOutput, "the hardware is ill")
        }
        if let controller = functions[index].controller {
            throw HardwareError(ErrorNumber.busy, "function \(vuid) has \(controller)")
        }
        let identity = functions[index].identity
        guard identity.kind == kind else {
            throw HardwareError(ErrorNumber.invalid, "function \(vuid) is not \(kind)")
        }
        if identity.vfIndex != nil {
            guard let pf = pf(of: identity), functions[pf].controller != nil else {
                throw HardwareError(ErrorNumber.busy, "the PF of \(vuid) has no controller")
            }
        }
        if let vectors { try setVectors(index, vectors) }
        let limit = kind.queues(of: functions[index].identity.vectorCount)
        guard queueCount <= limit else {
            throw HardwareError(ErrorNumber.noSpace, "\(queueCount) queues do not fit")
        }
        leaseCount += 1
        opened.append(vuid)
        functions[index].controller = controller
        functions[index].lastLease = leaseCount
        functions[index].hostSocketPath = "/run/\(vuid).sock"
        return functions[index].identity
    }

    mutating func setVectors(_ index: Int, _ count: Int) throws(HardwareError) {
        let more = count - functions[index].identity.vectorCount
        if let pf = pf(of: functions[index].identity), functions[index].identity.vfIndex != nil {
            guard let pool = functions[pf].freeVectorCount, more <= pool else {
                throw HardwareError(ErrorNumber.noSpace, "the pool is short")
            }
            functions[pf].freeVectorCount = pool - more
        }
        functions[index].identity.vectorCount = count
    }
}
