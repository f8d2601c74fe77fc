internal import Emulation
internal import Hardware
internal import Platform

/// Vectors for the first VFs of a PF, checked against its pool before any is exposed. A short pool
/// that is found when drivers are bound already can stop a host until its next cold boot.
struct VectorPlan {
    struct Share: Equatable {
        var vfIndex: Int
        var vectorCount: Int
        var queueCount: Int
    }

    let shares: [Share]
    /// Vectors of the plan in all.
    let needed: Int
    /// Vectors that the plan may use: the pool and what its VFs have.
    let available: Int
    let poolCount: Int
    /// Why it does not fit; nil when it does.
    let obstacle: String?

    var fits: Bool { obstacle == nil }

    /// - Parameter counts: vectors of VF 0, VF 1 and so on, each at least 2.
    init(
        _ counts: [Int], pf: FunctionListing, vfs: [FunctionListing]
    ) throws(ControllerError) {
        guard !vfs.isEmpty else {
            throw ControllerError(
                ErrorNumber.invalid,
                "function \(pf.identity.vuid) has no VFs; their number is part of the firmware "
                    + "configuration")
        }
        guard !counts.isEmpty, counts.count <= vfs.count else {
            throw ControllerError(
                ErrorNumber.invalid,
                "the plan has \(counts.count) VFs; PF \(pf.identity.vuid) has \(vfs.count), and at "
                    + "least 1 is to be planned")
        }
        if let bad = counts.firstIndex(where: { $0 < 2 }) {
            throw ControllerError(
                ErrorNumber.invalid,
                "VF \(bad) would have \(counts[bad]) vectors; one queue and configuration changes "
                    + "need 2")
        }
        let planned = Array(zip(counts, vfs))
        shares = planned.map { count, vf in
            Share(
                vfIndex: vf.identity.vfIndex ?? 0, vectorCount: count,
                queueCount: min(vf.identity.kind.queues(of: count), vf.identity.queueLimit))
        }
        needed = counts.reduce(0, +)
        let pool = pf.freeVectorCount ?? 0
        poolCount = pool
        available = pool + planned.reduce(0) { $0 + $1.1.identity.vectorCount }
        let others = vfs.dropFirst(counts.count).reduce(0) { $0 + $1.identity.vectorCount }
        obstacle =
            needed > available
            ? "\(needed - available) vectors are missing"
                + (others > 0 ? "; VFs outside of the plan hold \(others)" : "")
            : VectorPlan.obstacle(planned, pool: pool)
    }

    /// Goes through the plan as the controllers would be created.
    private static func obstacle(
        _ planned: [(Int, FunctionListing)], pool: Int
    ) -> String? {
        var pool = pool
        for (count, vf) in planned where count != vf.identity.vectorCount {
            let vuid = vf.identity.vuid
            if let controller = vf.controller {
                return "VF \(vuid) has \(vf.identity.vectorCount) vectors and a controller "
                    + "(\"\(controller)\"); destroy that, or use virtio_blk_controller_modify"
            }
            if vf.isDriverBound || vf.isHostConnected {
                return "VF \(vuid) has \(vf.identity.vectorCount) vectors and is in use by its host"
            }
            pool += vf.identity.vectorCount - count
            if pool < 0 {
                return "there are vectors enough, but VF \(vuid) would find \(-pool) too few in "
                    + "the pool, because later VFs hold them; reclaim them first"
            }
        }
        return nil
    }
}
