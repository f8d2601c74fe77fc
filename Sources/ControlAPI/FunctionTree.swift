internal import Emulation
internal import Hardware
internal import Platform

/// The functions of a manager, by every way in which calls look for them. Made from one listing, in
/// linear time: a PF may have hundreds of VFs.
struct FunctionTree {
    /// In the manager's order.
    let all: [FunctionListing]
    private let indices: [String: Int]
    /// Indices of VFs in the order of their index, by the VUID of their PF.
    private let vfIndices: [String: [Int]]

    init(_ all: [FunctionListing]) {
        self.all = all
        var indices: [String: Int] = [:]
        var vfIndices: [String: [Int]] = [:]
        indices.reserveCapacity(all.count)
        for (index, function) in all.enumerated() {
            indices[function.identity.vuid] = index
            if let pf = function.identity.pfVUID { vfIndices[pf, default: []].append(index) }
        }
        self.indices = indices
        self.vfIndices = vfIndices.mapValues { list in
            list.sorted { (all[$0].identity.vfIndex ?? 0) < (all[$1].identity.vfIndex ?? 0) }
        }
    }

    var pfs: [FunctionListing] { all.filter { $0.identity.vfIndex == nil } }

    subscript(vuid: String) -> FunctionListing? { indices[vuid].map { all[$0] } }

    /// All VFs that a PF can have, enabled or not.
    func vfs(of pf: FunctionListing) -> [FunctionListing] {
        vfIndices[pf.identity.vuid, default: []].map { all[$0] }
    }

    /// The PF of a VF; nil for a PF.
    func pf(of function: FunctionListing) -> FunctionListing? {
        function.identity.pfVUID.flatMap { self[$0] }
    }
}

extension FunctionIdentity {
    /// VUID of the VF's PF: its own without `VF<index + 1>`. Nil for a PF.
    var pfVUID: String? {
        guard let vfIndex else { return nil }
        let ending = "VF\(vfIndex + 1)"
        return vuid.hasSuffix(ending) ? String(vuid.dropLast(ending.utf8.count)) : nil
    }
}

extension StorageContext {
    /// The functions of one PF, of either kind: what a call that names it needs.
    func functions(ofPF index: Int) async throws(ControllerError) -> FunctionTree {
        do {
            return FunctionTree(try await manager.functions(ofPF: index))
        } catch { throw ControllerError(error) }
    }

    func functions() async throws(ControllerError) -> FunctionTree {
        do {
            return FunctionTree(try await manager.functions())
        } catch { throw ControllerError(error) }
    }
}

extension FunctionIdentity.Kind {
    /// As a sentence says it.
    var text: String {
        switch self {
        case .virtioBlk: "virtio-blk"
        case .nvme: "NVMe"
        }
    }
}
