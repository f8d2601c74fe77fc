internal import Hardware
internal import Platform

/// A session on its way from one process to the next.
extension VFIOUserSession {
    /// The whole of a session but its shape, as plain data.
    public struct Snapshot: Sendable {
        public var state: PCIHostState
        public var hasVersion: Bool
        /// PCI configuration space, without the extended one.
        public var configuration: [UInt8]
        public var vectorTable: [UInt8]

        public init(
            state: PCIHostState, hasVersion: Bool, configuration: [UInt8], vectorTable: [UInt8]
        ) {
            self.state = state
            self.hasVersion = hasVersion
            self.configuration = configuration
            self.vectorTable = vectorTable
        }
    }

    public var snapshot: Snapshot {
        Snapshot(
            state: state, hasVersion: hasVersion, configuration: configuration.bytes,
            vectorTable: vectorTable.entries)
    }

    /// Whether nothing that a snapshot has changed between the two.
    public func isSame(as other: VFIOUserSession) -> Bool {
        state.generation == other.state.generation && hasVersion == other.hasVersion
            && configuration.bytes == other.configuration.bytes
            && vectorTable.entries == other.vectorTable.entries
    }

    /// Goes on with a session of another process, which is a stranger's word.
    public init(shape: PCIShape, _ snapshot: Snapshot) throws(VFIOUserError) {
        self.init(shape: shape, after: .initial)
        guard snapshot.state.vectors.count == shape.vectorCount,
            snapshot.state.memory.count + snapshot.state.unreachable.count <= Self.regionLimit
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "session with \(snapshot.state.vectors.count) interrupts; its function has "
                    + "\(shape.vectorCount)")
        }
        for case let file? in snapshot.state.vectors where !file.isEvent {
            throw VFIOUserError(
                ErrorNumber.invalid, "session with \(file.kindName) for an interrupt")
        }
        for grant in snapshot.state.memory { try Self.check(kept: grant) }
        try configuration.restore(snapshot.configuration)
        try vectorTable.restore(snapshot.vectorTable)
        state = snapshot.state
        state.isBusMaster = configuration.isBusMaster
        hasVersion = snapshot.hasVersion
    }

    private static func check(kept grant: MemoryGrant) throws(VFIOUserError) {
        let (end, overflow) = grant.fileOffset.addingReportingOverflow(grant.byteCount)
        guard let byteCount = grant.file.sharedMemoryByteCount, !overflow, end <= byteCount,
            grant.byteCount > 0,
            !grant.guestAddress.addingReportingOverflow(grant.byteCount).overflow
        else {
            throw VFIOUserError(
                ErrorNumber.invalid,
                "memory region at 0x\(String(grant.guestAddress, radix: 16)) does not fit its file")
        }
    }
}
