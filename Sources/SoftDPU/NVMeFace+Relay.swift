internal import Hardware
internal import Platform
internal import VFIOUser

/// A service that reaches the host's memory by RDMA alone.
extension NVMeFace {
    func grants(_ state: NVMeFunctionState) -> RemoteGrants {
        guard let relay = core.relay, let memory else {
            return RemoteGrants(refusal: "there is no relay")
        }
        return relay.grants(
            of: function.vuid, HostReach(state), functionMemory: memory,
            doorbells: doorbells?.file)
    }

    /// Interrupts that the relay raises go to the host's present eventfds: a new one is raised
    /// once, for what the former may have got meanwhile.
    func followCalls(_ vectors: [SharedDescriptor?]) {
        for (vector, call) in vectors.enumerated()
        where vector >= calls.count || calls[vector] !== call {
            core.relay?.interrupt(call)
        }
        calls = vectors
    }

    /// What a service's interrupt raises; nil where the host has set up nothing.
    func call(ofVector vector: Int) -> SharedDescriptor? {
        guard let vectors = session?.state.vectors, vectors.indices.contains(vector) else {
            return nil
        }
        return vectors[vector]
    }

    /// Keys of what is over end.
    func settleKeys(_ generation: UInt64) {
        if let lease = function.lease {
            core.relay?.settle(function.vuid, lease: lease.number, generation)
        } else {
            core.relay?.endKeys(of: function.vuid)
        }
    }
}
