public import Bdev
internal import CWire
public import Platform
internal import Synchronization

/// A namespace of a remote subsystem as a block device, whichever paths lead to it.
public final class RemoteNamespace: Backend {
    /// Bytes of one command at most, also where the target would take more: no command holds up the
    /// others for long.
    static let byteLimit = 1 << 20

    public let productName = "NVMe disk"
    public let id: UInt32
    let blockByteCount: Int
    let identity: NamespaceFacts.Identity
    private let operations: Set<BlockOperation>
    private let blockCount: Atomic<UInt64>
    private let transferBlocks: Atomic<UInt64>
    let retryLimit: Int
    private let ledger: AssociationLedger
    private let subsystem: String
    /// Several controllers may have it.
    public let isShared: Bool
    private let routing = Mutex([NamespacePath]())
    /// Changes with the paths and the policy.
    private let generation = Atomic<UInt64>(1)
    private let packedPolicy: Atomic<UInt64>

    init(
        _ facts: NamespaceFacts, of subsystem: String, retryLimit: Int, policy: MultipathPolicy,
        _ ledger: AssociationLedger
    ) {
        self.subsystem = subsystem
        self.ledger = ledger
        id = facts.id
        identity = facts.identity
        blockByteCount = facts.blockByteCount
        operations = facts.operations
        isShared = facts.isShared
        blockCount = Atomic(facts.blockCount)
        transferBlocks = Atomic(1)
        self.retryLimit = retryLimit
        packedPolicy = Atomic(policy.packed)
    }

    // MARK: Control plane

    public var geometry: BlockGeometry {
        BlockGeometry(
            blockByteCount: blockByteCount, blockCount: blockCount.load(ordering: .relaxed))
    }

    public func supports(_ operation: BlockOperation) -> Bool { operations.contains(operation) }

    public func openChannel(
        depth: Int, at site: ChannelSite
    ) throws(SystemError) -> any BackendChannel {
        try NamespaceChannel(self, depth: depth, at: site)
    }

    public func hold(for holder: UInt64) throws(SystemError) { try ledger.hold(for: holder) }

    public func isHeld(by holder: UInt64) -> Bool {
        ledger.isHeld(by: holder, subsystem: subsystem)
    }

    /// Its size as a target reports it now. The caller tells the device.
    func resize(toBlockCount count: UInt64) { blockCount.store(count, ordering: .relaxed) }

    /// Its paths, in the order they were attached, and a number that grows with each change.
    var paths: (generation: UInt64, paths: [NamespacePath]) {
        routing.withLock { (generation.load(ordering: .relaxed), $0) }
    }

    func setPaths(_ paths: [NamespacePath]) {
        routing.withLock { routing in
            routing = paths
            let least = paths.map(\.path.transferByteCount).min() ?? RemoteNamespace.byteLimit
            transferBlocks.store(
                UInt64(max(1, min(least, RemoteNamespace.byteLimit) / blockByteCount)),
                ordering: .relaxed)
            generation.add(1, ordering: .releasing)
        }
    }

    public internal(set) var policy: MultipathPolicy {
        get { MultipathPolicy(packed: packedPolicy.load(ordering: .relaxed)) }
        set { packedPolicy.store(newValue.packed, ordering: .relaxed) }
    }

    // MARK: Data plane

    var pathsGeneration: UInt64 { generation.load(ordering: .acquiring) }

    /// Blocks of one command at most.
    func pieceLimit(_ operation: BlockOperation) -> UInt64 {
        switch operation {
        case .read, .write: min(transferBlocks.load(ordering: .relaxed), 1 << 16)
        case .writeZeroes: 1 << 16
        case .unmap, .flush: UInt64(UInt32.max)
        }
    }
}

/// One path's view of a namespace.
final class NamespacePath: Sendable {
    /// ANA states (Base §8.1), and their order of preference.
    enum Access: UInt8 {
        case optimized = 1
        case nonOptimized = 2
        case inaccessible = 3
        case persistentLoss = 4
        case change = 15

        var rank: Int? {
            switch self {
            case .optimized: 0
            case .nonOptimized: 1
            case .inaccessible, .persistentLoss, .change: nil
            }
        }

        /// As SPDK prints it.
        var name: String {
            switch self {
            case .optimized: "optimized"
            case .nonOptimized: "non_optimized"
            case .inaccessible: "inaccessible"
            case .persistentLoss: "persistent_loss"
            case .change: "change"
            }
        }
    }

    let path: RemotePath
    private let state: Atomic<UInt8>

    init(_ path: RemotePath, _ access: Access) {
        self.path = path
        state = Atomic(access.rawValue)
    }

    var access: Access {
        get { Access(rawValue: state.load(ordering: .relaxed)) ?? .inaccessible }
        set { state.store(newValue.rawValue, ordering: .relaxed) }
    }
}

extension MultipathPolicy {
    /// In one word that both planes read whole.
    fileprivate var packed: UInt64 {
        UInt64(requestsInTurn) << 1 | (spread == .activeActive ? 1 : 0)
    }

    fileprivate init(packed: UInt64) {
        self.init()
        spread = packed & 1 == 1 ? .activeActive : .activePassive
        requestsInTurn = Int(packed >> 1)
    }
}

/// What the control plane may know of a way to a namespace.
extension RemoteNamespace {
    public struct Way: Sendable {
        public let path: RemotePath
        public let accessName: String
        public let isConnected: Bool
        public let isAccessible: Bool
        /// Requests take it now, or take turns on it.
        public var isCurrent = false
    }

    /// In the order of attachment.
    public var ways: [Way] {
        let paths = paths.paths
        let ranks = paths.map { $0.path.phase == .enabled ? $0.access.rank : nil }
        let best = ranks.compactMap { $0 }.min()
        var ways = zip(paths, ranks).map { way, rank in
            Way(
                path: way.path, accessName: way.access.name,
                isConnected: way.path.phase == .enabled, isAccessible: way.access.rank != nil,
                isCurrent: rank != nil && rank == best)
        }
        if policy.spread == .activePassive {
            let first = ways.firstIndex(where: \.isCurrent)
            for index in ways.indices where index != first { ways[index].isCurrent = false }
        }
        return ways
    }
}
