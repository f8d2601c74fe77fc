internal import Hardware
internal import Memory
internal import NVMe
internal import Platform
internal import RDMA

/// The memory of one function, registered for one epoch: its host's regions, its function memory,
/// and the in-flight region that a front end keeps. The keys end with it.
struct HostKeys {
    private let epoch: UInt64
    private let memoryGeneration: UInt64
    let grants: RemoteGrants
    private let functionMemory: ObjectIdentifier
    private let inflight: ObjectIdentifier?
    private let regions: [MemoryRegion]

    /// - Parameter doorbells: of an NVMe function, which a service on another machine reaches so.
    init(
        _ domain: ProtectionDomain, _ reach: HostReach, _ functionMemory: SharedDescriptor,
        doorbells: SharedDescriptor? = nil
    ) throws(RDMAError) {
        epoch = reach.epoch
        memoryGeneration = reach.memoryGeneration
        self.functionMemory = ObjectIdentifier(functionMemory)
        inflight = reach.inflight.map { ObjectIdentifier($0.file) }
        var made: [MemoryRegion] = []
        var regions: [RemoteRegion] = []
        for grant in reach.memory {
            let region = try Self.register(
                domain, grant.file, offset: grant.fileOffset, byteCount: grant.byteCount)
            made.append(region)
            regions.append(
                RemoteRegion(
                    guestAddress: grant.guestAddress, byteCount: grant.byteCount,
                    userAddress: grant.userAddress, place: region.remote()))
        }
        let own = try Self.register(
            domain, functionMemory, offset: 0,
            byteCount: functionMemory.sharedMemoryByteCount ?? 0)
        made.append(own)
        var grants = RemoteGrants(regions: regions, functionMemory: own.remote())
        if let doorbells {
            let region = try Self.register(
                domain, doorbells, offset: 0, byteCount: doorbells.sharedMemoryByteCount ?? 0)
            made.append(region)
            grants.doorbells = region.remote()
        }
        if let kept = reach.inflight {
            let region = try Self.register(
                domain, kept.file, offset: kept.fileOffset, byteCount: kept.byteCount)
            made.append(region)
            grants.inflight = RemoteGrants.Inflight(
                place: region.remote(), queueCount: kept.queueCount, queueSize: kept.queueSize)
        }
        self.regions = made
        self.grants = grants
    }

    private static func register(
        _ domain: ProtectionDomain, _ file: SharedDescriptor, offset: UInt64, byteCount: UInt64
    ) throws(RDMAError) -> MemoryRegion {
        let span = Mapping.span(at: offset, byteCount: byteCount)
        let mapping: Mapping
        do throws(SystemError) {
            mapping = try Mapping(
                file.number, offset: span.offset, byteCount: Int(span.byteCount))
        } catch { throw .system(error) }
        return try MemoryRegion(
            domain, mapping, offset: span.inside, byteCount: Int(byteCount),
            access: [.remoteRead, .remoteWrite])
    }

    /// Whether these are the keys of what `reach` grants.
    func fits(_ reach: HostReach, _ memory: SharedDescriptor) -> Bool {
        epoch == reach.epoch && memoryGeneration == reach.memoryGeneration
            && functionMemory == ObjectIdentifier(memory)
            && inflight == reach.inflight.map { ObjectIdentifier($0.file) }
    }
}

/// What a state of a function says of its host's memory.
struct HostReach {
    let generation: UInt64
    let epoch: UInt64
    let memoryGeneration: UInt64
    let memory: [MemoryGrant]
    var inflight: InflightGrant?
    /// Whether there is a queue that may use it.
    let isUsed: Bool

    init(_ state: VirtioFunctionState) {
        generation = state.generation
        epoch = state.epoch
        memoryGeneration = state.memoryGeneration
        memory = state.memory
        inflight = state.inflight
        isUsed = state.queues.contains(where: \.isRunning)
    }

    init(_ state: NVMeFunctionState) {
        generation = state.generation
        epoch = state.epoch
        memoryGeneration = state.memoryGeneration
        memory = state.memory
        isUsed = Registers.isEnabled(state.configuration)
    }
}
