public import JSONRPC
internal import Platform

extension MethodRegistry {
    /// The release of SPDK whose interface is spoken: the one inside SNAP-4.
    public static let version: JSONValue = [
        "version": "SPDK v23.01.1",
        "fields": ["major": 23, "minor": 1, "patch": 1, "suffix": ""],
    ]

    /// Registers what every service answers about itself.
    public func registerFramework(_ facts: any ServiceFacts) {
        registerLifecycle(facts)
        registerSubsystems(facts)
        registerThreads(facts)
        registerBuffers(facts)
    }

    private func registerLifecycle(_ facts: any ServiceFacts) {
        register("rpc_get_methods") { [unowned self] parameters in
            JSONValue(strings: names(current: parameters.flag("current")))
        }
        register("spdk_get_version") { _ in MethodRegistry.version }
        register("framework_start_init") { [unowned self] _ in
            try await initialize { try await facts.initializeFramework() }
            return true
        }
        register("framework_wait_init") { [unowned self] _ in
            await waitUntilInitialized()
            return true
        }
        register("spdk_kill_instance") { parameters in
            let name = parameters.string("sig_name")
            guard let signal = MethodRegistry.signal(name) else {
                throw RPCError.invalidParameters("Invalid parameters")
            }
            try Signals.send(signal, to: ProcessFacts.identifier)
            return true
        }
    }

    private static func signal(_ name: String) -> Int32? {
        switch name {
        case "SIGINT": Signals.interrupt
        case "SIGTERM": Signals.terminate
        case "SIGQUIT": Signals.quit
        case "SIGHUP": Signals.hangUp
        case "SIGKILL": Signals.kill
        case "SIGUSR1": Signals.user1
        default: Int32(name)
        }
    }

    private func registerSubsystems(_ facts: any ServiceFacts) {
        register("framework_get_subsystems") { _ in
            .array(
                await facts.subsystems().map { subsystem in
                    [
                        "subsystem": .string(subsystem.name),
                        "depends_on": JSONValue(strings: subsystem.dependencies),
                    ]
                })
        }
        register("framework_get_config") { parameters in
            let name = parameters.string("name")
            guard await facts.subsystems().contains(where: { $0.name == name }) else {
                throw RPCError.invalidParameters("Subsystem '\(name)' not found")
            }
            return try await facts.configuration(of: name).map(JSONValue.array) ?? .null
        }
        register("framework_get_scheduler") { _ in
            [
                "scheduler_name": "static", "scheduler_period": 0, "isolated_core_mask": "0",
                "scheduling_core": 0,
            ]
        }
        register("framework_get_pci_devices") { _ in [] }
        register("snap_global_param_list") { _ in
            .array(
                await facts.settings().map { setting in
                    [
                        "name": .string(setting.name), "value": .string(setting.value),
                        "default": .string(setting.defaultValue),
                    ]
                })
        }
    }

    private func registerBuffers(_ facts: any ServiceFacts) {
        register("iobuf_set_options") { parameters in
            guard parameters.wereGiven else {
                throw RPCError.invalidParameters("spdk_json_decode_object failed")
            }
            try await facts.setBufferPools(
                BufferPoolOptions(
                    smallCount: parameters.unsigned("small_pool_count"),
                    largeCount: parameters.unsigned("large_pool_count"),
                    smallByteCount: parameters.unsigned("small_bufsize"),
                    largeByteCount: parameters.unsigned("large_bufsize"),
                    isPerNUMANode: parameters.flag("enable_numa")))
            return true
        }
        register("iobuf_get_stats") { _ in
            .array(
                await facts.bufferPools().map { pool in
                    [
                        "module": .string(pool.module), "small_pool": pool.small.json,
                        "large_pool": pool.large.json,
                    ]
                })
        }
    }
}

extension BufferPoolFacts.Counts {
    fileprivate var json: JSONValue {
        ["cache": JSONValue(cache), "main": JSONValue(main), "retry": JSONValue(retry)]
    }
}
