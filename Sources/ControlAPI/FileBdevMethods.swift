internal import Bdev
internal import JSONRPC
internal import Logging
internal import Memory
internal import Platform

/// Bdevs of files and kernel block devices.
extension MethodRegistry {
    func registerFileBdevs(_ context: StorageContext) {
        register("bdev_aio_create") { parameters in
            var options = FileBackend.Options(path: parameters.string("filename"))
            options.blockByteCount = parameters.blockByteCount
            options.isReadOnly = parameters.flag("readonly")
            options.allowsErasing = parameters.flag("fallocate")
            let device = BlockDevice(
                name: parameters.string("name"), uuid: UUID.chosen(parameters),
                backend: try FileBackend(options))
            try context.bdevs.add(device)
            var params = device.savedParams(options)
            params.append("readonly", .bool(options.isReadOnly))
            params.append("fallocate", .bool(options.allowsErasing))
            params.append("uuid", .string(device.uuid.description))
            params.append("nowait", .bool(parameters.flag("nowait")))
            context.creations.add(device.name, "bdev_aio_create", params)
            return .string(device.name)
        }
        registerUring(context)
        for (kind, engine) in [("aio", KernelQueue.Kind.aio), ("uring", .uring)] {
            register("bdev_\(kind)_delete") { parameters in
                try await context.delete(parameters.string("name")) { $0.isFile(of: engine) }
                return true
            }
            register("bdev_\(kind)_rescan") { parameters in
                let device = try context.bdevs.device(parameters.string("name"))
                guard let file = device.backend as? FileBackend, file.isFile(of: engine) else {
                    throw BdevError(ErrorNumber.noDevice, device.name)
                }
                try file.rescan()
                context.bdevs.resized(device)
                return true
            }
        }
    }

    private func registerUring(_ context: StorageContext) {
        register("bdev_uring_create") { parameters in
            var options = FileBackend.Options(
                path: parameters.string("filename"), engine: .uring)
            options.blockByteCount = parameters.blockByteCount
            let device: BlockDevice
            do {
                // Asks the kernel now: the first I/O would be late to learn that it is forbidden.
                let event = try EventDescriptor.create()
                _ = try KernelQueue(.uring, capacity: 1, event: event.number)
                device = BlockDevice(
                    name: parameters.string("name"), uuid: UUID.chosen(parameters),
                    backend: try FileBackend(options))
                try context.bdevs.add(device)
            } catch {
                // The answer is SPDK's, whatever the reason.
                context.log.error("event=uring_refused reason=\"\(error)\"")
                throw RPCError.internalError("Unable to create URING bdev.")
            }
            var params = device.savedParams(options)
            params.append("uuid", .string(device.uuid.description))
            context.creations.add(device.name, "bdev_uring_create", params)
            return .string(device.name)
        }
    }
}

extension Parameters {
    /// `block_size`; nil, also for 0, is the file's own.
    fileprivate var blockByteCount: Int? {
        optionalUnsigned("block_size").flatMap { $0 == 0 ? nil : Int($0) }
    }
}

extension Backend {
    fileprivate func isFile(of engine: KernelQueue.Kind) -> Bool {
        (self as? FileBackend)?.options.engine == engine
    }
}

extension BlockDevice {
    fileprivate func savedParams(_ options: FileBackend.Options) -> JSONObject {
        var params: JSONObject = ["name": .string(name)]
        if let size = options.blockByteCount { params.append("block_size", JSONValue(size)) }
        params.append("filename", .string(options.path))
        return params
    }
}
