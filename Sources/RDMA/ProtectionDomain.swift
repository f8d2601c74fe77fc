internal import CVerbs

/// What may be used together: a queue pair reaches regions of its own domain only.
@safe
public final class ProtectionDomain: @unchecked Sendable {
    // Sendable: immutable after init; libibverbs locks what it shares.
    let domain: UnsafeMutablePointer<ibv_pd>
    public let device: VerbsDevice

    public init(_ device: VerbsDevice) throws(RDMAError) {
        var made: UnsafeMutablePointer<ibv_pd>?
        let result = unsafe verbs_allocate_domain(device.context, &made)
        guard let made = unsafe made else { throw .system("ibv_alloc_pd \(device.name)", result) }
        unsafe domain = made
        self.device = device
    }

    deinit { unsafe ibv_dealloc_pd(domain) }
}
