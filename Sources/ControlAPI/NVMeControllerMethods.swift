internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import NVMe
internal import Platform

/// NVMe controllers (nvme.json).
extension MethodRegistry {
    func registerNVMeControllers(_ context: StorageContext) {
        register("nvme_controller_create") { parameters in
            let options = try await context.nvmeOptions(parameters)
            let controller = try await context.nvme.create(options)
            return ["ctrl_id": .string(controller.options.name)]
        }
        register("nvme_controller_destroy") { parameters in
            let name = parameters.string("ctrl_id")
            let controller = try await context.nvme.find(name)
            let releases = parameters.flag("release_msix")
            if releases, controller.identity.vfIndex == nil {
                throw ControllerError(
                    ErrorNumber.invalid,
                    "release_msix is for VFs; controller \"\(name)\" is on PF "
                        + "\(controller.identity.vuid), which keeps its vectors")
            }
            if parameters.flag("if_listener") { try await controller.standDown() }
            try await context.nvme.destroyController(
                name, force: parameters.flag("force"), releasesVectors: releases)
            return true
        }
        register("nvme_controller_modify") { parameters in
            try await context.nvme.modify(
                parameters.string("ctrl_id"),
                queueCount: parameters.optionalUnsigned("num_queues").map { Int($0) },
                vectorCount: parameters.optionalUnsigned("num_msix").map { Int($0) })
            return true
        }
        register("nvme_controller_snapshot_get") { parameters in
            let controller = try await context.nvme.find(parameters.string("ctrl_id"))
            guard case .suspended(eventsOnly: false) = await controller.state else {
                throw ControllerError(
                    ErrorNumber.invalid,
                    "controller \"\(controller.options.name)\" is not suspended; use "
                        + "nvme_controller_suspend first")
            }
            try ControllerSnapshot(controller).write(to: parameters.string("filename"))
            return true
        }
    }

    func registerNVMeStates(_ context: StorageContext) {
        register("nvme_controller_suspend") { parameters in
            let controller = try await context.nvme.find(parameters.string("ctrl_id"))
            let limit = parameters.optionalUnsigned("timeout_ms").map { Duration.milliseconds($0) }
            let force = parameters.flag("force")
            if parameters.flag("live_update_notifier") {
                try await controller.handOver(within: limit, force: force)
            } else if parameters.flag("admin_only") {
                try await controller.suspendAdmin()
            } else {
                try await controller.suspend(within: limit, force: force)
            }
            return true
        }
        register("nvme_controller_resume") { parameters in
            try await context.nvme.find(parameters.string("ctrl_id")).resume()
            return true
        }
    }

    func registerNVMeQueries(_ context: StorageContext) {
        register("nvme_controller_list") { parameters in
            let controllers = try await context.selectedNVMe(parameters)
            if controllers.isEmpty { return [] }
            let tree = try await context.functions()
            let namespaces = try await context.nvme.namespaces(of: nil)
            var listed: [JSONValue] = []
            for controller in controllers {
                listed.append(await controller.listing(in: tree, namespaces))
            }
            return .array(listed)
        }
        register("nvme_controller_dbg_io_stats_get") { parameters in
            var listed: [JSONValue] = []
            for controller in try await context.selectedNVMe(parameters) {
                listed.append(await controller.ioStatistics())
            }
            return ["controllers": .array(listed)]
        }
        register("nvme_controller_dbg_debug_stats_get") { parameters in
            var listed: [JSONValue] = []
            for controller in try await context.selectedNVMe(parameters) {
                listed.append(await controller.debugStatistics())
            }
            return ["controllers": .array(listed)]
        }
    }
}

extension StorageContext {
    /// The controller that `ctrl_id` names, those of the subsystem `nqn`, or all of them.
    fileprivate func selectedNVMe(_ parameters: Parameters) async throws -> [NVMeController] {
        var found = await nvme.all
        if let name = parameters.optionalString("ctrl_id") { found = [try await nvme.find(name)] }
        guard parameters.has("nqn") else { return found }
        let subsystem = try await nvme.subsystem(parameters.string("nqn"))
        return found.filter { $0.subsystem == subsystem }
    }
}

extension NVMeController {
    /// An element of `nvme_controller_list`.
    /// - Parameter tree: the functions as they are now: vectors move, hosts come and go.
    func listing(in tree: FunctionTree?, _ namespaces: [NVMeNamespace]) -> JSONValue {
        let function = tree?[identity.vuid]
        let vectors = function?.identity.vectorCount ?? identity.vectorCount
        let range = function?.vectorRange ?? vectors...vectors
        let own = namespaces.filter { $0.controller == options.name && $0.nqn == options.nqn }
        var object: JSONObject = [
            "ctrl_id": .string(options.name), "nqn": .string(options.nqn),
            "vhca_id": JSONValue(identity.vhcaID), "mdts": JSONValue(options.mdts),
            "num_queues": JSONValue(options.queueCount),
            "max_queues": JSONValue(identity.nvmeQueueLimit(vectors) + 1),
            "plugged": .bool(function?.isPlugged ?? false), "state": .string(state.name),
            "namespaces": .array(
                own.map { space in
                    [
                        "nsid": JSONValue(space.id), "bdev": .string(space.bdevName),
                        "uuid": .string(space.uuid.description),
                    ]
                }),
        ]
        if let function, let tree, !tree.vfs(of: function).isEmpty {
            let free = JSONValue(function.freeVectorCount ?? 0)
            object.append("num_free_msix", free)
            object.append("free_msix", free)
            // Each vector brings one queue.
            object.append("free_queues", free)
            object.append("dynamic_msix", .bool(options.isDynamic))
        }
        object.append("num_msix", JSONValue(vectors))
        object.append("min configurable num_msix", JSONValue(range.lowerBound))
        object.append("max configurable num_msix", JSONValue(range.upperBound))
        if let part = state.liveUpdate { object.append("live_update", .string(part)) }
        object.append("vuid", .string(identity.vuid))
        object.append("pf_id", JSONValue(identity.pfIndex))
        if let vfIndex = identity.vfIndex { object.append("vf_id", JSONValue(vfIndex)) }
        object.append("admin_only", .bool(options.isAdminOnly))
        object.append("quirks", JSONValue(options.quirks))
        object.append("host_socket", .string(hostSocketPath))
        object.append("data_path", .string(dataPath.rawValue))
        object.append("memory_version", JSONValue(memoryVersion))
        return .object(object)
    }

    fileprivate func ioStatistics() -> JSONValue {
        let reports = report()
        let moved = reports.reduce(0) { $0 + $1.counts.bytesRead + $1.counts.bytesWritten }
        return [
            "ctrl_id": .string(options.name),
            "queues": .array(
                reports.map { report in
                    [
                        "queue_id": JSONValue(report.id), "core_id": JSONValue(report.core),
                        "read_io_count": JSONValue(report.counts.reads),
                        "write_io_count": JSONValue(report.counts.writes),
                        "flush_io_count": JSONValue(report.counts.flushes),
                        "err_io_count": JSONValue(report.counts.errors),
                    ]
                }),
            "read_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.reads }),
            "write_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.writes }),
            "flush_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.flushes }),
            "bytes_read": JSONValue(reports.reduce(0) { $0 + $1.counts.bytesRead }),
            "bytes_written": JSONValue(reports.reduce(0) { $0 + $1.counts.bytesWritten }),
            "bytes_direct": JSONValue(moved - dataPath.staged(of: moved)),
            "bytes_staged": JSONValue(dataPath.staged(of: moved)),
        ]
    }

    fileprivate func debugStatistics() -> JSONValue {
        let isSuspended = state == .suspended(eventsOnly: false)
        let (submissions, completions) = queueReport()
        return [
            "ctrl_id": .string(options.name),
            "sqs": .array(
                submissions.map { queue in
                    let state =
                        queue.isRunning ? (isSuspended ? "SUSPENDED" : "RUNNING") : "STOPPED"
                    return [
                        "qid": JSONValue(queue.id), "cqid": JSONValue(queue.completionQueue),
                        "state": .string(state), "size": JSONValue(queue.size),
                    ]
                }),
            "cqs": .array(
                completions.map { queue in
                    [
                        "qid": JSONValue(queue.id), "size": JSONValue(queue.size),
                        "vector": JSONValue(queue.vector),
                        "hw_received_cmds": JSONValue(queue.counts.received),
                        "hw_completed_cmds": JSONValue(queue.counts.completed),
                    ]
                }),
        ]
    }
}
