internal import Emulation
internal import Hardware
internal import JSONRPC

/// An element of `virtio_blk_controller_list`.
extension VirtioBlkController {
    /// - Parameter tree: the functions as they are now: vectors move, hosts come and go.
    func listing(in tree: FunctionTree) -> JSONValue {
        let function = tree[identity.vuid]
        let vectors = function?.identity.vectorCount ?? identity.vectorCount
        let range = function?.vectorRange ?? vectors...vectors
        var object: JSONObject = [
            "ctrl_id": .string(options.name), "vhca_id": JSONValue(identity.vhcaID),
            "num_queues": JSONValue(options.queueCount),
            "queue_size": JSONValue(options.queueSize), "seg_max": JSONValue(options.segMax),
            "size_max": JSONValue(options.sizeMax), "bdev": .string(bdevName ?? "none"),
            "plugged": .bool(function?.isPlugged ?? false),
            "indirect_desc": .bool(options.isIndirect), "num_msix": JSONValue(vectors),
            "min configurable num_msix": JSONValue(range.lowerBound),
            "max configurable num_msix": JSONValue(range.upperBound),
            "vblk_id": .string(serial), "force_in_order": .bool(options.isInOrder),
            "admin_q": .bool(options.hasAdminQueue),
            "dbg_local_optimized": .bool(options.isLocalOptimized),
            "read_only": .bool(options.isReadOnly),
        ]
        if let function, !tree.vfs(of: function).isEmpty {
            let free = JSONValue(function.freeVectorCount ?? 0)
            object.append("free_msix", free)
            object.append("num_free_msix", free)
            // Each vector brings one queue.
            object.append("free_queues", free)
            object.append("dynamic_msix", .bool(options.isDynamic))
        }
        object.append("state", .string(state.name))
        if let part = state.liveUpdate { object.append("live_update", .string(part)) }
        object.append("vuid", .string(identity.vuid))
        object.append("data_path", .string(dataPath.rawValue))
        object.append("host_socket", .string(hostSocketPath))
        return .object(object)
    }
}

extension FunctionListing {
    /// Whether the host sees it: a hot-plug PF as long as it has not let go of it.
    var isPlugged: Bool { hotplugState != .powerOff }
}
