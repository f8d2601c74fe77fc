internal import Bdev
internal import Emulation
internal import Hardware
internal import JSONRPC
internal import Platform

/// Bdevs of memory and of nothing.
extension MethodRegistry {
    func registerMemoryBdevs(_ context: StorageContext) {
        register("bdev_malloc_create") { parameters in
            let geometry = try BlockGeometry.checked(parameters)
            let hints = try MemoryBdevHints.checked(parameters, MemoryBdevHints.malloc)
            let uuid = UUID.chosen(parameters)
            let name = parameters.optionalString("name") ?? context.bdevs.nextName("Malloc")
            let claim = try context.names.reserve([name, uuid.description], in: context.bdevs)
            let device = try await context.makeMalloc(name, uuid, geometry)
            try context.bdevs.add(device)
            claim.end()
            context.creations.add(name, "bdev_malloc_create", device.savedParams(hints))
            return .string(name)
        }
        register("bdev_malloc_delete") { parameters in
            let name = parameters.string("name")
            let uuid = try context.deletable(name) { $0 is MallocBackend }.uuid
            try await context.delete(name) { $0 is MallocBackend }
            try await context.manager.deleteMemoryFile(uuid.description)
            return true
        }
        registerNull(context)
    }

    private func registerNull(_ context: StorageContext) {
        register("bdev_null_create") { parameters in
            let geometry = try BlockGeometry.checked(parameters)
            let hints = try MemoryBdevHints.checked(parameters, MemoryBdevHints.null)
            let device = BlockDevice(
                name: parameters.string("name"), uuid: UUID.chosen(parameters),
                backend: NullBackend(geometry))
            try context.bdevs.add(device)
            context.creations.add(device.name, "bdev_null_create", device.savedParams(hints))
            return .string(device.name)
        }
        register("bdev_null_delete") { parameters in
            try await context.delete(parameters.string("name")) { $0 is NullBackend }
            return true
        }
        register("bdev_null_resize") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            let (bytes, overflow) = parameters.unsigned("new_size")
                .multipliedReportingOverflow(by: 1 << 20)
            guard let backend = device.backend as? NullBackend, bytes > 0, !overflow,
                bytes <= BlockGeometry.byteLimit
            else { throw BdevError(ErrorNumber.invalid, "new_size") }
            let count = bytes / UInt64(device.geometry.blockByteCount)
            guard count > 0 else { throw BdevError(ErrorNumber.invalid, "new_size") }
            backend.resize(toBlockCount: count)
            context.bdevs.resized(device)
            context.creations.update(device.name, "num_blocks", JSONValue(count))
            return true
        }
    }
}

extension StorageContext {
    /// The memory is kept by the hardware under the bdev's uuid: what is there already is taken up
    /// again, and what cannot be used is given back.
    fileprivate func makeMalloc(
        _ name: String, _ uuid: UUID, _ geometry: BlockGeometry
    ) async throws -> BlockDevice {
        if name.isEmpty { throw BdevError(ErrorNumber.invalid, "name is empty") }
        if let total = SystemMemory.byteCount, geometry.byteCount > total {
            throw BdevError(ErrorNumber.noMemory, "more than the machine's memory")
        }
        let file = try await manager.memoryFile(
            uuid.description, byteCount: geometry.byteCount)
        do {
            let mapping = try Mapping(file.number, byteCount: Int(geometry.byteCount))
            // What was promised is there: running out of memory is an error now, not a fault later.
            do {
                try await mapping.populate()
            } catch { throw BdevError(ErrorNumber.noMemory, "\(error)") }
            return BlockDevice(name: name, uuid: uuid, backend: MallocBackend(mapping, geometry))
        } catch {
            try? await manager.deleteMemoryFile(uuid.description)
            throw error
        }
    }
}

/// What a client may say of a memory or null bdev that changes nothing about how it is served: it
/// is listed and saved.
enum MemoryBdevHints {
    static let shown = [
        "preferred_write_alignment", "preferred_write_granularity", "optimal_write_size",
        "preferred_unmap_alignment", "preferred_unmap_granularity",
    ]
    static let malloc = ["physical_block_size", "optimal_io_boundary"]
    static let null = ["physical_block_size"] + shown

    /// The hints among `names` that were given. Metadata is refused: EINVAL for a size that SPDK
    /// refuses too, EOPNOTSUPP for what only this service does not have.
    static func checked(
        _ parameters: Parameters, _ names: [String]
    ) throws(RPCError) -> [(key: String, value: JSONValue)] {
        let metadata = parameters.unsigned("md_size")
        guard [0, 8, 16, 32, 64, 128].contains(metadata) else { throw .errno(ErrorNumber.invalid) }
        if metadata > 0 || parameters.signed("dif_type") != 0 {
            throw .errno(
                ErrorNumber.notSupported,
                message: "md_size \(metadata): bdevs with metadata or protection information are "
                    + "not served; leave md_size and dif_type out")
        }
        if let physical = parameters.optionalUnsigned("physical_block_size"), physical % 512 != 0 {
            throw .errno(ErrorNumber.invalid)
        }
        return names.compactMap { name in
            parameters.optionalUnsigned(name).map { (key: name, value: JSONValue($0)) }
        }
    }
}

extension BlockDevice {
    fileprivate func savedParams(_ hints: [(key: String, value: JSONValue)]) -> JSONObject {
        var params: JSONObject = [
            "name": .string(name), "num_blocks": JSONValue(geometry.blockCount),
            "block_size": JSONValue(geometry.blockByteCount), "uuid": .string(uuid.description),
        ]
        for hint in hints { params.append(hint.key, hint.value) }
        return params
    }
}

extension BlockGeometry {
    /// Offsets of files have 63 bits.
    static let byteLimit: UInt64 = 1 << 62

    /// `block_size` and `num_blocks`, as SPDK checks them.
    static func checked(_ parameters: Parameters) throws(BdevError) -> BlockGeometry {
        let blockByteCount = parameters.unsigned("block_size")
        let blockCount = parameters.unsigned("num_blocks")
        if blockByteCount == 0 { throw BdevError(ErrorNumber.noMemory, "block_size is 0") }
        let (bytes, overflow) = blockCount.multipliedReportingOverflow(by: blockByteCount)
        guard blockByteCount % 512 == 0, blockCount > 0, !overflow, bytes <= byteLimit else {
            throw BdevError(ErrorNumber.invalid, "block_size or num_blocks")
        }
        return BlockGeometry(blockByteCount: Int(blockByteCount), blockCount: blockCount)
    }
}
