internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform

/// Pools of MSI-X vectors (msix.json).
extension MethodRegistry {
    func registerVectors(_ context: StorageContext) {
        for kind in [FunctionIdentity.Kind.virtioBlk, .nvme] {
            register("\(kind.prefix)_controller_vfs_msix_reclaim") { parameters in
                let name = parameters.string("ctrl_id")
                let function = try await context.identity(ofController: name, kind)
                guard function.vfIndex == nil else {
                    throw ControllerError(
                        ErrorNumber.invalid,
                        "controller \"\(name)\" is on VF \(function.vuid); name the controller "
                            + "of its PF")
                }
                try await context.manager.reclaimVectors(vuid: function.vuid)
                return true
            }
        }
        register("softsnap_msix_plan") { parameters in
            let counts = try parameters.plannedCounts()
            let pf = try await context.plannedPF(parameters)
            return try VectorPlan(counts, pf: pf.listing, vfs: pf.tree.vfs(of: pf.listing)).json
        }
    }
}

extension Parameters {
    /// Both forms of a plan: a list, or so many VFs of so many vectors.
    fileprivate func plannedCounts() throws(ControllerError) -> [Int] {
        if let list = optionalUnsigneds("vfs") {
            if !has("count"), !has("num_msix") { return list.map { Int($0) } }
        } else if has("count"), has("num_msix") {
            return Array(repeating: Int(unsigned("num_msix")), count: Int(unsigned("count")))
        }
        throw ControllerError(
            ErrorNumber.invalid, "give either vfs, or count and num_msix, as the plan")
    }
}

extension StorageContext {
    fileprivate func plannedPF(_ parameters: Parameters) async throws -> SelectedFunction {
        let selected: SelectedFunction
        if parameters.has("ctrl_id"), !parameters.has("vuid"), !parameters.has("pf_id") {
            let vuid = try await identity(ofController: parameters.string("ctrl_id")).vuid
            let tree = try await functions()
            guard let listing = tree[vuid] else { throw functionIsGone(vuid) }
            selected = SelectedFunction(listing: listing, tree: tree)
        } else {
            selected = try await function(
                parameters, by: ["ctrl_id", "vuid", "pf_id"],
                kind: parameters.has("pf_id") ? .virtioBlk : nil)
        }
        guard selected.identity.vfIndex == nil else {
            throw ControllerError(
                ErrorNumber.invalid, "function \(selected.vuid) is a VF; a plan is for its PF")
        }
        return selected
    }
}

extension VectorPlan {
    fileprivate var json: JSONValue {
        [
            "fits": .bool(fits), "needed": JSONValue(needed), "available": JSONValue(available),
            "free_msix": JSONValue(poolCount),
            "vfs": .array(
                shares.map { share in
                    [
                        "vf_index": JSONValue(share.vfIndex),
                        "num_msix": JSONValue(share.vectorCount),
                        "num_queues": JSONValue(share.queueCount),
                    ]
                }),
            "reason": .string(
                obstacle ?? "\(available - needed) vectors are left in the pool then"),
        ]
    }
}
