internal import Hardware
internal import Memory
internal import Platform
internal import Synchronization

/// Maps what hosts grant. Mappings of the same part of the same file are shared between functions:
/// the disks of one virtual machine see the same memory.
final class HostMemoryMap: Sendable {
    private struct Key: Hashable {
        let file: FileIdentity
        let offset: UInt64
        let byteCount: UInt64
    }

    private struct Weak {
        weak var mapping: Mapping?
    }

    private let known = Mutex<[Key: Weak]>([:])
    /// Storage that reaches host memory by itself.
    private let user: (any HostMemoryUser)?

    init(_ user: (any HostMemoryUser)? = nil) { self.user = user }

    /// The memory of one function, all regions mapped.
    func map(_ grants: [MemoryGrant], generation: UInt64) throws(ControllerError) -> HostMemory {
        var regions: [HostRegion] = []
        for grant in grants {
            let span = Mapping.span(at: grant.fileOffset, byteCount: grant.byteCount)
            do {
                let mapping = try mapping(
                    grant.file, offset: span.offset, byteCount: span.byteCount)
                regions.append(
                    HostRegion(
                        guestAddress: grant.guestAddress, byteCount: grant.byteCount,
                        userAddress: grant.userAddress, mapping: mapping,
                        mappingOffset: span.inside, admission: user?.admit(mapping)))
            } catch {
                throw ControllerError(
                    error.code,
                    "host memory at 0x\(String(grant.guestAddress, radix: 16)): \(error)")
            }
        }
        return HostMemory(generation: generation, regions: regions)
    }

    /// A front end's log of dirty pages, mapped. All disks of one machine have the same.
    func map(_ grant: DirtyLogGrant) throws(ControllerError) -> DirtyLog {
        let span = Mapping.span(at: grant.fileOffset, byteCount: grant.byteCount)
        do {
            let mapping = try mapping(grant.file, offset: span.offset, byteCount: span.byteCount)
            return DirtyLog(mapping, offset: span.inside, byteCount: Int(grant.byteCount))
        } catch { throw ControllerError(error.code, "dirty log: \(error)") }
    }

    private func mapping(
        _ file: SharedDescriptor, offset: UInt64, byteCount: UInt64
    ) throws(SystemError) -> Mapping {
        let key = Key(file: try file.identity(), offset: offset, byteCount: byteCount)
        if let found = known.withLock({ $0[key]?.mapping }), !found.isDead { return found }
        let made = try Mapping(file.number, offset: offset, byteCount: Int(byteCount))
        known.withLock { known in
            known = known.filter { $0.value.mapping != nil }
            known[key] = Weak(mapping: made)
        }
        return made
    }
}
