internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform

/// Methods that make and delete bdevs, module by module (bdev_modules.json).
extension MethodRegistry {
    public func registerBdevModules(_ context: StorageContext) {
        registerMemoryBdevs(context)
    }

    private func registerMemoryBdevs(_ context: StorageContext) {
        register("bdev_malloc_create") { parameters in
            let geometry = try BlockGeometry.checked(parameters)
            let uuid = UUID.given(parameters) ?? .random()
            let name = parameters.optionalString("name") ?? context.bdevs.nextName("Malloc")
            try context.requireFree(name, uuid)
            let file = try await context.manager.memoryFile(
                uuid.description, byteCount: geometry.byteCount)
            let mapping = try Mapping(file.number, byteCount: Int(geometry.byteCount))
            let device = BlockDevice(
                name: name, uuid: uuid, backend: MallocBackend(mapping, geometry))
            try context.bdevs.add(device)
            return .string(name)
        }
        register("bdev_malloc_delete") { parameters in
            let device = try context.deletable(parameters.string("name")) { $0 is MallocBackend }
            try await context.bdevs.remove(device.name)
            try await context.manager.deleteMemoryFile(device.uuid.description)
            return true
        }
        register("bdev_null_create") { parameters in
            let device = BlockDevice(
                name: parameters.string("name"), uuid: UUID.given(parameters) ?? .random(),
                backend: NullBackend(try BlockGeometry.checked(parameters)))
            try context.bdevs.add(device)
            return .string(device.name)
        }
        register("bdev_null_delete") { parameters in
            let device = try context.deletable(parameters.string("name")) { $0 is NullBackend }
            try await context.bdevs.remove(device.name)
            return true
        }
    }
}

extension StorageContext {
    /// A bdev of the right kind that nothing uses. A disk under a controller is not taken away.
    func deletable(
        _ name: String, where isOurs: (any Backend) -> Bool
    ) throws -> BlockDevice {
        let device = try bdevs.device(name)
        guard isOurs(device.backend) else { throw BdevError(ErrorNumber.noDevice, "") }
        if let user = device.users.first(where: { $0.contains("controller") }) {
            throw ControllerError(
                ErrorNumber.busy,
                "bdev \"\(device.name)\" is attached to \(user); detach it or destroy the "
                    + "controller first")
        }
        return device
    }

    /// Refuses before anything is made.
    func requireFree(_ name: String, _ uuid: UUID) throws(BdevError) {
        for taken in [name, uuid.description] where (try? bdevs.device(taken)) != nil {
            throw BdevError(ErrorNumber.exists, "\(taken) exists")
        }
    }
}

extension BlockGeometry {
    /// `block_size` and `num_blocks`, as SPDK checks them.
    static func checked(_ parameters: Parameters) throws(BdevError) -> BlockGeometry {
        let blockByteCount = parameters.unsigned("block_size")
        let blockCount = parameters.unsigned("num_blocks")
        if blockByteCount == 0 { throw BdevError(ErrorNumber.noMemory, "block_size is 0") }
        let (bytes, overflow) = blockCount.multipliedReportingOverflow(by: blockByteCount)
        guard blockByteCount % 512 == 0, blockCount > 0, !overflow, bytes < 1 << 62 else {
            throw BdevError(ErrorNumber.invalid, "block_size or num_blocks")
        }
        return BlockGeometry(blockByteCount: Int(blockByteCount), blockCount: blockCount)
    }
}

extension UUID {
    /// The `uuid` parameter; all zeros mean "make one up".
    static func given(_ parameters: Parameters) -> UUID? {
        parameters.optionalString("uuid").flatMap(UUID.init).flatMap { uuid in
            uuid == UUID(high: 0, low: 0) ? nil : uuid
        }
    }
}
