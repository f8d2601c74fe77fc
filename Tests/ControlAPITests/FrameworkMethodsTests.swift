import ControlAPI
import JSONRPC
import Logging
import Platform
import Synchronization
import Testing

@Suite struct `Framework methods` {
    @Test(arguments: [
        ("spdk_get_version", "spdk_get_version method requires no parameters"),
        ("framework_get_subsystems", "'framework_get_subsystems' requires no arguments"),
        ("framework_get_reactors", "`framework_get_reactors` requires no arguments"),
        ("thread_get_stats", "'thread_get_stats' requires no arguments"),
        ("thread_get_pollers", "'thread_get_pollers' requires no arguments"),
        ("thread_get_io_channels", "'thread_get_io_channels' requires no arguments"),
        ("framework_get_scheduler", "'rpc_get_scheduler' requires no arguments"),
        (
            "framework_get_pci_devices",
            "framework_get_pci_devices doesn't accept any parameters.\n"
        ),
        ("log_get_level", "log_get_level requires no parameters"),
        ("log_get_print_level", "log_get_print_level requires no parameters"),
        ("log_get_flags", "log_get_flags requires no parameters"),
        ("notify_get_types", "No parameters required"),
    ])
    func `that take nothing refuse an empty object`(method: String, text: String) async throws {
        let service = try await TestService()
        #expect(try await service.call(method, "{}") == "-32602 \(text)")
        #expect(try await service.call(method, "[]") == "-32602 \(text)")
        #expect(try await !service.call(method).hasPrefix("-"))
    }

    @Test(arguments: [
        (
            "spdk_get_version",
            #"{"version":"SPDK v23.01.1","fields":{"major":23,"minor":1,"patch":1,"suffix":""}}"#
        ),
        (
            "framework_get_subsystems",
            #"[{"subsystem":"iobuf","depends_on":[]},{"subsystem":"bdev","depends_on":["iobuf"]}]"#
        ),
        (
            "thread_get_stats",
            #"{"tick_rate":1000000000,"threads":[{"name":"app","id":1,"cpumask":"20","busy":7,"#
                + #""idle":3,"active_pollers_count":1,"timed_pollers_count":1,"#
                + #""paused_pollers_count":0}]}"#
        ),
        (
            "thread_get_pollers",
            #"{"tick_rate":1000000000,"threads":[{"name":"app","id":1,"active_pollers":[{"#
                + #""name":"p","id":4,"state":"waiting","run_count":2,"busy_count":1}],"#
                + #""timed_pollers":[{"name":"t","id":5,"state":"waiting","run_count":1,"#
                + #""busy_count":0,"period_ticks":9}],"paused_pollers":[]}]}"#
        ),
        (
            "thread_get_io_channels",
            #"{"tick_rate":1000000000,"threads":[{"name":"app","io_channels":[{"#
                + #""name":"Malloc0","ref":2}]}]}"#
        ),
        (
            "framework_get_scheduler",
            #"{"scheduler_name":"static","scheduler_period":0,"isolated_core_mask":"0","#
                + #""scheduling_core":0}"#
        ),
        ("framework_get_pci_devices", "[]"),
        (
            "iobuf_get_stats",
            #"[{"module":"bdev","small_pool":{"cache":1,"main":2,"retry":0},"#
                + #""large_pool":{"cache":1,"main":2,"retry":0}}]"#
        ),
        (
            "snap_global_param_list",
            #"[{"name":"SNAP_RPC_LOG_ENABLE","value":"0","default":"1"}]"#
        ),
    ])
    func `answer in SPDK's shape`(method: String, answer: String) async throws {
        let service = try await TestService()
        #expect(try await service.call(method) == answer)
    }

    @Test func `show reactors with the threads of their core`() async throws {
        let service = try await TestService()
        let answer = try JSONValue.parse(try await service.call("framework_get_reactors"))
        #expect(answer["pid"]?.unsigned == UInt64(ProcessFacts.identifier))
        let reactor =
            #"{"lcore":5,"numa_id":0,"tid":99,"busy":7,"idle":3,"in_interrupt":false,"#
            + #""irq":0,"sys":0,"usr":0,"lw_threads":[{"name":"app","id":1,"cpumask":"20","#
            + #""elapsed":10}]}"#
        #expect(answer["reactors"] == .array([try JSONValue.parse(reactor)]))
    }

    @Test(arguments: [
        (#"{"name":"bdev"}"#, #"[{"method":"bdev_wait_for_examine"}]"#),
        (#"{"name":"bdev","with_batches":false}"#, #"[{"method":"bdev_wait_for_examine"}]"#),
        (#"{"name":"iobuf"}"#, "null"), (#"{"name":"x"}"#, "-32602 Subsystem 'x' not found"),
        ("{}", "-32602 Invalid arguments"),
    ])
    func `save the configuration of a subsystem`(params: String, answer: String) async throws {
        let service = try await TestService()
        #expect(try await service.call("framework_get_config", params) == answer)
    }

    @Test func `set buffer pools before initialization only, and not without params`() async throws
    {
        let service = try await TestService(isInitialized: false)
        let refusal = "-32602 spdk_json_decode_object failed"
        #expect(try await service.call("iobuf_set_options") == refusal)
        let answer = try await service.call("iobuf_set_options", #"{"small_pool_count":1e3}"#)
        #expect(answer == "true")
        #expect(service.facts.pools.withLock { $0?.smallCount } == 1000)
        #expect(service.facts.pools.withLock { $0?.largeByteCount } == 135168)
    }

    @Test(arguments: ["{}", #"{"sig_name":"SIGFOO"}"#, #"{"sig_name":15}"#])
    func `refuse an unknown signal`(params: String) async throws {
        let service = try await TestService()
        let answer = try await service.call("spdk_kill_instance", params)
        #expect(answer == "-32602 Invalid parameters")
    }
}

@Suite struct `Log methods` {
    @Test func `start with SPDK's levels and take any case`() async throws {
        let service = try await TestService()
        #expect(try await service.call("log_get_level") == "\"NOTICE\"")
        #expect(try await service.call("log_get_print_level") == "\"INFO\"")
        #expect(try await service.call("log_set_level", #"{"level":"error"}"#) == "true")
        #expect(try await service.call("log_set_print_level", #"{"level":"DEBUG"}"#) == "true")
        #expect(try await service.call("log_get_level") == "\"ERROR\"")
        #expect(try await service.call("log_get_print_level") == "\"DEBUG\"")
        #expect(service.thresholds.level(of: "nvme") == .debug)
    }

    @Test(
        arguments: [
            ("log_set_level", nil, "-32603 spdk_json_decode_object failed"),
            ("log_set_level", #"{"level":"LOUD"}"#, "-32602 invalid log level"),
            ("log_set_print_level", #"{"level":7}"#, "-32603 spdk_json_decode_object failed"),
            ("log_set_flag", #"{"flag":"nothing"}"#, "-32602 invalid log flag"),
            ("log_set_flag", "{}", "-32603 spdk_json_decode_object failed"),
            ("log_enable_timestamps", "{}", "-32602 spdk_json_decode_object failed"),
            ("log_enable_timestamps", #"{"enabled":1}"#, "-32602 spdk_json_decode_object failed"),
        ] as [(String, String?, String)])
    func `refuse as SPDK does`(method: String, params: String?, answer: String) async throws {
        let service = try await TestService()
        #expect(try await service.call(method, params) == answer)
    }

    @Test func `turn flags on and off by pattern`() async throws {
        let service = try await TestService()
        #expect(try await service.call("log_set_flag", #"{"flag":"bdev*"}"#) == "true")
        let flags = #"{"bdev":true,"bdev_aio":true,"nvme":false}"#
        #expect(try await service.call("log_get_flags") == flags)
        #expect(service.thresholds.level(of: "bdev") == .debug)
        #expect(service.thresholds.level(of: "nvme") == .info)
        #expect(try await service.call("log_clear_flag", #"{"flag":"?dev"}"#) == "true")
        #expect(try await service.call("log_set_flag", #"{"flag":"ALL"}"#) == "true")
        let all = #"{"bdev":true,"bdev_aio":true,"nvme":true}"#
        #expect(try await service.call("log_get_flags") == all)
    }

    @Test func `write one line for each event`() async throws {
        let service = try await TestService()
        var handler = LineLogHandler(label: "bdev", thresholds: service.thresholds)
        handler[metadataKey: "name"] = "a\nb\u{1B}"
        let timed = handler.line(.info, "created", ["count": "3"])
        #expect(timed.hasSuffix(" info bdev: created count=3 name=a b "))
        _ = try await service.call("log_enable_timestamps", #"{"enabled":false}"#)
        #expect(handler.line(.error, "gone", nil) == "error bdev: gone name=a b ")
        #expect(handler.logLevel == .info)
        _ = try await service.call("log_set_flag", #"{"flag":"bdev"}"#)
        #expect(handler.logLevel == .debug)
    }

    @Test(arguments: [
        ("0", "critical"), ("1", "error"), ("2", "warning"), ("3", "info"), ("4", "debug"),
        ("5", "trace"),
    ])
    func `map SNAP's levels`(number: String, level: String) async throws {
        let service = try await TestService()
        _ = try await service.call("snap_log_level_set", "{\"level\":\(number)}")
        #expect(service.thresholds.level(of: "x").rawValue == level)
    }
}

@Suite struct `Notifications` {
    @Test func `are numbered, cut and kept to 1024`() async throws {
        let service = try await TestService()
        #expect(try await service.call("notify_get_notifications") == "[]")
        for index in 0..<1030 { service.ring.post(.bdevRegister, "b\(index)") }
        service.ring.post(.bdevResize, String(repeating: "x", count: 200))
        let all = try JSONValue.parse(
            try await service.call("notify_get_notifications"), limits: .answer)
        #expect(all.array?.count == 1024)
        #expect(all.array?.first == ["type": "bdev_register", "ctx": "b7", "id": 7])
        #expect(all.array?.last?["ctx"]?.string?.utf8.count == 127)
        let some = try await service.call("notify_get_notifications", #"{"id":1029,"max":1}"#)
        #expect(some == #"[{"type":"bdev_register","ctx":"b1029","id":1029}]"#)
        #expect(try await service.call("notify_get_notifications", #"{"id":5000}"#) == "[]")
        let huge = #"{"id":0,"max":18446744073709551615}"#
        let most = try JSONValue.parse(
            try await service.call("notify_get_notifications", huge), limits: .answer)
        #expect(most.array?.count == 1024)
        let refusal = try await service.call("notify_get_notifications", #"{"id":-1}"#)
        #expect(refusal == "-32602 Invalid argument")
    }
}
