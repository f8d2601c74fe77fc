internal import CVerbs
public import Memory
public import Platform

/// A part of a mapping that a device may reach, pinned for as long as this lives. Its keys end with
/// it: what a peer still reads or writes with them then completes there as a remote access error.
///
/// Keeps its mapping. Pinned pages count against RLIMIT_MEMLOCK.
@safe
public final class MemoryRegion: @unchecked Sendable {
    // Sendable: immutable after init; the memory behind it is shared by design.
    public struct Access: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let remoteRead = Access(rawValue: IBV_ACCESS_REMOTE_READ.rawValue)
        public static let remoteWrite = Access(rawValue: IBV_ACCESS_REMOTE_WRITE.rawValue)
    }

    private let region: UnsafeMutablePointer<ibv_mr>
    private let base: UInt64
    private let mapping: Mapping
    private let domain: ProtectionDomain
    public let byteCount: Int

    /// Registers `byteCount` bytes at `offset` of `mapping`, inside of it. Queue pairs of `domain`
    /// may read and write them from here; peers what `access` says.
    public init(
        _ domain: ProtectionDomain, _ mapping: Mapping, offset: Int = 0, byteCount: Int,
        access: Access = []
    ) throws(RDMAError) {
        precondition(offset >= 0 && byteCount > 0 && offset <= mapping.byteCount - byteCount)
        let address = unsafe mapping.address + offset
        var made: UnsafeMutablePointer<ibv_mr>?
        let result = unsafe verbs_register(
            domain.domain, address, byteCount,
            Int32(access.rawValue | IBV_ACCESS_LOCAL_WRITE.rawValue), &made)
        guard let made = unsafe made else {
            throw MemoryRegion.refusal(-result, byteCount, domain.device)
        }
        unsafe region = made
        base = UInt64(UInt(bitPattern: address))
        self.mapping = mapping
        self.domain = domain
        self.byteCount = byteCount
    }

    deinit { unsafe ibv_dereg_mr(region) }

    static func refusal(_ code: Int32, _ byteCount: Int, _ device: VerbsDevice) -> RDMAError {
        if code != ErrorNumber.noMemory {
            return .system(SystemError("register \(byteCount) bytes", code: code))
        }
        return .regionRefused(
            device: device.name, byteCount: byteCount, lockLimit: ProcessFacts.lockedMemoryLimit,
            advertised: device.limits.memoryRegions)
    }

    /// Names the region in this process's work requests.
    var localKey: UInt32 { unsafe region.pointee.lkey }

    /// `byteCount` bytes at `offset`, for a work request of this process; 2 GiB at most.
    public func part(at offset: Int = 0, byteCount: Int) -> RegisteredSegment {
        precondition(offset >= 0 && byteCount >= 0 && offset <= self.byteCount &- byteCount)
        return RegisteredSegment(
            address: base &+ UInt64(offset), byteCount: UInt32(byteCount), key: localKey)
    }

    /// `bytes`, a part of the region, for a work request of this process.
    public func segment(_ bytes: HostSegment) -> RegisteredSegment {
        part(at: Int(UInt64(bytes.address) &- base), byteCount: bytes.byteCount)
    }

    /// The place at `offset`, for a peer's work requests.
    public func remote(at offset: Int = 0) -> RemoteAddress {
        precondition(offset >= 0 && offset < byteCount)
        return RemoteAddress(base &+ UInt64(offset), key: unsafe region.pointee.rkey)
    }
}

/// Bytes of a region of this process. Does not keep the region: the device refuses what ends after
/// its region did.
public struct RegisteredSegment: BitwiseCopyable, Sendable {
    let address: UInt64
    public let byteCount: UInt32
    let key: UInt32
}
