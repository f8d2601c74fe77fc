internal import Bounded
public import Memory
public import Platform
internal import RDMA
internal import Synchronization

/// Host memory that targets read and write by RDMA, without a copy: registered with each device
/// that remote queues are on, while it is mapped.
///
/// Memory that a device refuses is staged, and the log says why.
public final class DirectMemory: HostMemoryUser {
    private struct State {
        var admissions: [Weak<Admission>] = []
        var domains: [Weak<StorageDomain>] = []
        var nextNumber: UInt64 = 0
    }

    private struct Weak<Object: AnyObject> {
        weak var object: Object?
    }

    /// One mapping, for as long as a function has it.
    final class Admission: Sendable {
        let number: UInt64
        let mapping: Mapping
        private let owner: DirectMemory

        init(_ number: UInt64, _ mapping: Mapping, _ owner: DirectMemory) {
            self.number = number
            self.mapping = mapping
            self.owner = owner
        }

        deinit { owner.withdraw(number) }
    }

    private let state = Mutex(State())
    /// Held while something new is registered, so that neither misses the other. What ends does
    /// without.
    private let order = Mutex(())
    private let log: @Sendable (String) -> Void

    /// - Parameter log: takes an event as `key=value`.
    public init(log: @escaping @Sendable (String) -> Void) { self.log = log }

    public func admit(_ mapping: Mapping) -> any AnyObject & Sendable {
        order.withLock { _ in
            let (known, domains) = present
            if let found = known.first(where: { $0.mapping === mapping }) { return found }
            let admission = state.withLock { state in
                let made = Admission(state.nextNumber, mapping, self)
                state.nextNumber += 1
                state.admissions.append(Weak(object: made))
                return made
            }
            for domain in domains { register(admission, domain) }
            return admission
        }
    }

    /// Ends the keys of a mapping.
    private func withdraw(_ number: UInt64) {
        for domain in present.domains { domain.remove(number) }
    }

    /// The domain of all queues on a device, with every mapping registered.
    func domain(_ device: VerbsDevice) throws(RDMAError) -> StorageDomain {
        let result: Result<StorageDomain, RDMAError> = order.withLock { _ in
            let (known, domains) = present
            if let found = domains.first(where: { $0.deviceName == device.name }) {
                return .success(found)
            }
            do throws(RDMAError) {
                let made = try StorageDomain(device)
                state.withLock { $0.domains.append(Weak(object: made)) }
                for admission in known { register(admission, made) }
                return .success(made)
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// What lives. Whoever asks may be the last holder, so nothing of it ends under `state`.
    private var present: (admissions: [Admission], domains: [StorageDomain]) {
        state.withLock { state in
            let found = (
                state.admissions.compactMap(\.object), state.domains.compactMap(\.object)
            )
            state.admissions.removeAll { $0.object == nil }
            state.domains.removeAll { $0.object == nil }
            return found
        }
    }

    private func register(_ admission: Admission, _ domain: StorageDomain) {
        do throws(RDMAError) {
            try domain.add(admission.number, admission.mapping)
        } catch {
            log(
                "event=host_memory_is_staged device=\(domain.deviceName) "
                    + "bytes=\(admission.mapping.byteCount) reason=\"\(error)\"")
        }
    }
}

/// What the remote queues on one device share: a protection domain, and host memory in it.
final class StorageDomain: Sendable {
    /// Mappings at most; the memory of further ones is staged.
    static let regionLimit = 1024

    let domain: ProtectionDomain
    private struct Entry {
        let number: UInt64
        let mapping: Mapping
        let region: MemoryRegion
    }

    private let entries = Mutex<[Entry]>([])
    /// Changes with the regions.
    private let changes = Atomic<UInt64>(0)

    init(_ device: VerbsDevice) throws(RDMAError) { domain = try ProtectionDomain(device) }

    var deviceName: String { domain.device.name }

    fileprivate func add(_ number: UInt64, _ mapping: Mapping) throws(RDMAError) {
        let region = try MemoryRegion(
            domain, mapping, byteCount: mapping.byteCount, access: [.remoteRead, .remoteWrite])
        entries.withLock {
            $0.append(Entry(number: number, mapping: mapping, region: region))
        }
        changes.add(1, ordering: .releasing)
    }

    /// The region's keys have ended when this returns.
    fileprivate func remove(_ number: UInt64) {
        let removed = entries.withLock { entries in
            let found = entries.filter { $0.number == number }
            entries.removeAll { $0.number == number }
            return found
        }
        changes.add(1, ordering: .releasing)
        withExtendedLifetime(removed) {}
    }

    var generation: UInt64 { changes.load(ordering: .acquiring) }

    /// Where targets reach the registered memory.
    func copy(into stretches: inout BoundedArray<DirectStretch>) {
        stretches.removeAll()
        entries.withLock { entries in
            for entry in entries.prefix(StorageDomain.regionLimit) {
                stretches.append(
                    DirectStretch(
                        address: UInt64(entry.mapping.bytes.address),
                        byteCount: UInt64(entry.mapping.byteCount), place: entry.region.remote()))
            }
        }
    }
}
