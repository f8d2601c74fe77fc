internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform
internal import VirtioBlk

/// The virtio-blk controller methods (virtio_blk.json).
extension MethodRegistry {
    public func registerVirtioBlk(_ context: StorageContext) {
        register("virtio_blk_controller_create") { parameters in
            let (options, device) = try await context.virtioBlkOptions(parameters)
            let controller = try await context.controllers.create(options, device: device)
            return ["ctrl_id": .string(controller.options.name)]
        }
        register("virtio_blk_controller_destroy") { parameters in
            let name = parameters.string("ctrl_id")
            let controller = try await context.controllers.find(name)
            let releases = parameters.flag("release_msix")
            if releases, controller.identity.vfIndex == nil {
                throw ControllerError(
                    ErrorNumber.invalid,
                    "release_msix is for VFs; controller \"\(name)\" is on PF "
                        + "\(controller.identity.vuid), which keeps its vectors")
            }
            if parameters.flag("if_listener") { try await controller.standDown() }
            try await context.controllers.destroy(
                name, force: parameters.flag("force"), releasesVectors: releases)
            return true
        }
        registerVirtioBlkStates(context)
        registerVirtioBlkBdevs(context)
        registerVirtioBlkQueries(context)
    }

    private func registerVirtioBlkStates(_ context: StorageContext) {
        register("virtio_blk_controller_suspend") { parameters in
            let controller = try await context.controllers.find(parameters.string("ctrl_id"))
            let limit = parameters.optionalUnsigned("timeout_ms").map { Duration.milliseconds($0) }
            if parameters.flag("live_update_notifier") {
                try await controller.handOver(within: limit, offeringFor: limit ?? .zero)
            } else if parameters.flag("events_only") {
                try await controller.suspendEvents()
            } else {
                try await controller.suspend(within: limit)
            }
            return true
        }
        register("virtio_blk_controller_resume") { parameters in
            let controller = try await context.controllers.find(parameters.string("ctrl_id"))
            try await controller.resume()
            return true
        }
    }

    private func registerVirtioBlkBdevs(_ context: StorageContext) {
        register("virtio_blk_controller_bdev_attach") { parameters in
            let controller = try await context.controllers.find(parameters.string("ctrl_id"))
            let serial = parameters.optionalString("vblk_id")
            let name = parameters.string("bdev")
            // `none` with dbg_bdev_type null: a placeholder without storage, which it is already.
            if name == "none" {
                if await controller.bdevName != nil { try await controller.detach() }
                return true
            }
            try await controller.attach(context.device(name), serial: serial)
            return true
        }
        register("virtio_blk_controller_bdev_detach") { parameters in
            let controller = try await context.controllers.find(parameters.string("ctrl_id"))
            try await controller.detach()
            return true
        }
    }

    private func registerVirtioBlkQueries(_ context: StorageContext) {
        register("virtio_blk_controller_list") { parameters in
            let controllers = try await context.selected(parameters)
            if controllers.isEmpty { return [] }
            let tree = try await context.functions()
            var listed: [JSONValue] = []
            for controller in controllers {
                listed.append(await controller.listing(in: tree))
            }
            return .array(listed)
        }
        register("virtio_blk_controller_modify") { parameters in
            try await context.controllers.modify(
                parameters.string("ctrl_id"),
                queueCount: parameters.optionalUnsigned("num_queues").map { Int($0) },
                vectorCount: parameters.optionalUnsigned("num_msix").map { Int($0) })
            return true
        }
        register("virtio_blk_controller_dbg_io_stats_get") { parameters in
            var listed: [JSONValue] = []
            for controller in try await context.selected(parameters) {
                listed.append(await controller.ioStatistics())
            }
            return ["controllers": .array(listed)]
        }
        register("virtio_blk_controller_dbg_debug_stats_get") { parameters in
            var listed: [JSONValue] = []
            for controller in try await context.selected(parameters) {
                listed.append(await controller.debugStatistics())
            }
            return ["controllers": .array(listed)]
        }
    }
}

extension StorageContext {
    /// The controller that `ctrl_id` names, or all of them.
    func selected(_ parameters: Parameters) async throws -> [VirtioBlkController] {
        if let name = parameters.optionalString("ctrl_id") {
            return [try await controllers.find(name)]
        }
        return await controllers.all
    }
}

extension VirtioBlkController {
    func ioStatistics() async -> JSONValue {
        let reports = await report()
        let moved = reports.reduce(0) { $0 + $1.counts.bytesMoved }
        return [
            "ctrl_id": .string(options.name),
            "queues": .array(
                reports.map { report in
                    [
                        "queue_id": JSONValue(report.index), "core_id": JSONValue(report.core),
                        "read_io_count": JSONValue(report.counts.reads),
                        "write_io_count": JSONValue(report.counts.writes),
                        "flush_io_count": JSONValue(report.counts.flushes),
                    ]
                }),
            "read_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.reads }),
            "write_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.writes }),
            "flush_io_count": JSONValue(reports.reduce(0) { $0 + $1.counts.flushes }),
            "bytes_direct": JSONValue(moved - dataPath.staged(of: moved)),
            "bytes_staged": JSONValue(dataPath.staged(of: moved)),
        ]
    }

    func debugStatistics() async -> JSONValue {
        let isSuspended = state == .suspended(eventsOnly: false)
        let reports = await report()
        return [
            "ctrl_id": .string(options.name),
            "queues": .array(
                reports.map { report in
                    let state =
                        report.isRunning ? (isSuspended ? "SUSPENDED" : "RUNNING") : "STOPPED"
                    return [
                        "qid": JSONValue(report.index), "state": .string(state),
                        "hw_available_index": JSONValue(report.position.nextAvailable),
                        "sw_available_index": JSONValue(report.position.nextAvailable),
                        "hw_used_index": JSONValue(report.position.nextUsed),
                        "sw_used_index": JSONValue(report.position.nextUsed),
                        "hw_received_descs": JSONValue(report.counts.received),
                        "hw_completed_descs": JSONValue(report.counts.completed),
                    ]
                }),
        ]
    }
}
