internal import Bdev
internal import Emulation
internal import JSONRPC
internal import Platform

/// Methods on any bdev (bdev.json) and on bdevs by kind (bdev_modules.json).
extension MethodRegistry {
    public func registerBdevs(_ context: StorageContext, _ facts: any ServiceFacts) {
        registerBdevQueries(context, facts)
        registerBdevFigures(context, facts)
        registerMemoryBdevs(context)
        registerFileBdevs(context)
        registerVirtualBdevs(context)
        registerSockets(context)
        registerRemotes(context, facts)
    }

    private func registerBdevQueries(_ context: StorageContext, _ facts: any ServiceFacts) {
        register("bdev_get_bdevs") { parameters in
            guard let name = parameters.optionalString("name") else {
                return .array(context.bdevs.devices.map(context.describe))
            }
            let limit = Duration.milliseconds(
                min(parameters.unsigned("timeout"), UInt64(Int32.max)))
            return .array([context.describe(try await context.device(name, within: limit))])
        }
        register("bdev_set_options") { parameters in
            let pool = parameters.unsigned("bdev_io_pool_size")
            let cache = parameters.unsigned("bdev_io_cache_size")
            if pool < cache * UInt64(await facts.threads().count + 1) {
                throw RPCError.invalidParameters(
                    "Pool size \(pool) too small for cache size \(cache)")
            }
            context.examination.setOptions(parameters)
            return true
        }
        register("bdev_examine") { parameters in
            try context.examination.request(parameters.string("name"))
            return true
        }
        register("bdev_wait_for_examine") { _ in true }
    }
}

extension StorageContext {
    /// The device of this name, when it is there or appears before `limit` has passed.
    func device(_ name: String, within limit: Duration) async throws -> BlockDevice {
        let end = ContinuousClock.now + limit
        while true {
            do throws(BdevError) {
                return try bdevs.device(name)
            } catch {
                if limit == .zero { throw error }
            }
            let left = end - ContinuousClock.now
            if left <= .zero { throw BdevError(ErrorNumber.timedOut, "bdev \"\(name)\"") }
            try await Task.sleep(for: min(left, .milliseconds(10)))
        }
    }

    /// A bdev of the right kind that may be deleted: no controller works on it, directly or through
    /// a bdev on top of it.
    func deletable(
        _ name: String, where isOurs: (any Backend) -> Bool
    ) throws -> BlockDevice {
        let device = try bdevs.device(name)
        guard isOurs(device.backend) else { throw BdevError(ErrorNumber.noDevice, name) }
        if let user = controller(on: device) {
            throw ControllerError(
                ErrorNumber.busy,
                "bdev \"\(device.name)\" is attached to \(user); detach it or destroy the "
                    + "controller first")
        }
        return device
    }

    /// The controller that would lose its disk with `device`, as its users name it.
    private func controller(on device: BlockDevice) -> String? {
        for user in device.users {
            // Any other user is a bdev on top, and goes by its own name.
            guard let above = try? bdevs.device(user) else { return user }
            if let found = controller(on: above) { return "\(found) (by way of bdev \"\(user)\")" }
        }
        return nil
    }

    /// Deletes a bdev that nothing else is kept for.
    func delete(_ name: String, where isOurs: (any Backend) -> Bool) async throws {
        let device = try deletable(name, where: isOurs)
        try await bdevs.remove(device.name, where: isOurs)
        forget(device.name)
    }

    /// What is known of a bdev beside the bdev itself goes with it.
    func forget(_ name: String) {
        creations.remove(name)
        sampler.stop(name)
        registrations.remove(name)
    }
}

extension UUID {
    /// The `uuid` parameter; a new one when it is left out (the schema reads zeros as left out).
    static func chosen(_ parameters: Parameters) -> UUID {
        parameters.optionalString("uuid").flatMap(UUID.init) ?? .random()
    }
}
