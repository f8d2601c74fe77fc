import ControlAPI
import JSONRPC
import Platform
import Testing

/// What is refused before anything is sent; the rest needs a target (NVMeOFTests, test_nvmeof.py).
@Suite struct `Remote controller methods` {
    private static let nqn = "nqn.2024-01.test:s1"

    /// The answer to an attachment with these members beside name and subsystem.
    private func attach(_ members: String) async throws -> String {
        let service = try await StorageService()
        return try await service.call(
            "bdev_nvme_attach_controller", #"{"name":"X","subnqn":"\#(Self.nqn)",\#(members)}"#)
    }

    @Test(arguments: [
        (#""trtype":"zmq","traddr":"::1""#, "-22 Failed to parse trtype: zmq"),
        (#""trtype":"tcp","traddr":"host""#, "-22 Failed to parse traddr: host is no numeric "),
        (
            #""trtype":"tcp","traddr":"::1","adrfam":"ib""#, "-22 Failed to parse adrfam: ib"
        ),
        (#""trtype":"TCP","traddr":"::1","adrfam":"IPv4""#, "-22 Failed to parse traddr: ::1 is "),
        (#""trtype":"tcp","traddr":"::1","trsvcid":"x""#, "-22 Failed to parse trsvcid: x"),
        (#""trtype":"tcp","traddr":"::1","trsvcid":"0""#, "-22 Failed to parse trsvcid: 0"),
        (#""trtype":"PCIe","traddr":"::1""#, "-95 trtype PCIe: remote controllers are reached "),
        (#""trtype":"rdma","traddr":"::1","hdgst":true"#, "-95 hdgst is of trtype tcp; over RDMA "),
        (#""trtype":"rdma","traddr":"::1","ddgst":true"#, "-95 ddgst is of trtype tcp; over RDMA "),
        (#""trtype":"rdma","traddr":"::1","hostaddr":"::2""#, "-95 hostaddr is of trtype tcp; "),
        (#""trtype":"tcp","traddr":"::1","psk":"k""#, "-95 psk: there is neither TLS nor "),
        (#""trtype":"tcp","traddr":"::1","dhchap_key":"k""#, "-95 dhchap_key: there is "),
        (#""trtype":"tcp","traddr":"::1","max_bdevs":0"#, "-22 max_bdevs cannot be zero"),
        (#""trtype":"tcp","traddr":"::1","num_io_queues":0"#, "-22 num_io_queues out of bounds,"),
        (#""trtype":"tcp","traddr":"::1","ctrlr_loss_timeout_sec":-2"#, "-22 ctrlr_loss_timeout"),
        (#""trtype":"tcp","traddr":"::1","reconnect_delay_sec":1"#, "-22 reconnect_delay_sec and "),
        (#""trtype":"tcp","traddr":"::1","multipath":"x""#, "-32603 spdk_json_decode_object fail"),
        (#""trtype":"tcp""#, "-32603 spdk_json_decode_object failed"),
        (
            #""trtype":"nvda_tcp","traddr":"127.0.0.1","trsvcid":"1""#,
            "-19 connect to 127.0.0.1 port 1: Connection refused; check traddr and trsvcid, and "
                + "that the target runs"
        ),
    ])
    func `refuse an attachment`(members: String, answer: String) async throws {
        let found = try await attach(members)
        #expect(found.hasPrefix(answer), "\(found)")
    }

    @Test(arguments: [
        (#"{"ctrlr_loss_timeout_sec":2,"reconnect_delay_sec":3}"#, "is longer than"),
        (
            #"{"ctrlr_loss_timeout_sec":9,"reconnect_delay_sec":3,"fast_io_fail_timeout_sec":2}"#,
            "is shorter than"
        ),
        (
            #"{"ctrlr_loss_timeout_sec":9,"reconnect_delay_sec":3,"fast_io_fail_timeout_sec":10}"#,
            "is longer than"
        ),
        (#"{"io_queue_requests":1}"#, "it is 2 to 4096"),
        (#"{"bdev_retry_count":-2}"#, "-1 or more"),
        (
            #"{"timeout_us":0,"timeout_admin_us":5}"#,
            "Can't have (timeout_us == 0) with (timeout_admin_us > 0)"
        ),
    ])
    func `refuse options that cannot be`(params: String, text: String) async throws {
        let service = try await StorageService()
        let answer = try await service.call("bdev_nvme_set_options", params)
        #expect(answer.hasPrefix("-22 ") && answer.contains(text), "\(answer)")
        #expect(await !service.saved().contains("bdev_nvme_set_options"))
    }

    @Test func `save the options that were given`() async throws {
        let service = try await StorageService()
        let params = #"{"keep_alive_timeout_ms":5000,"bdev_retry_count":-1}"#
        #expect(try await service.call("bdev_nvme_set_options", params) == "true")
        let saved = #"{"method":"bdev_nvme_set_options","params":\#(params)}"#
        #expect(await service.saved().contains(saved))
    }

    @Test(arguments: [
        (#""trtype":"zmq","traddr":"::1""#, "-22 Failed to parse trtype: zmq"),
        (#""trtype":"pcie","traddr":"::1""#, "-95 trtype pcie: remote controllers are "),
        (#""trtype":"tcp","traddr":"host""#, "-22 Failed to parse traddr: host is no numeric "),
        (#""trtype":"tcp","traddr":"::1","adrfam":"ipv4""#, "-22 Failed to parse traddr: ::1 is "),
        (#""trtype":"tcp","traddr":"::1","trsvcid":"x""#, "-22 Failed to parse trsvcid: x"),
        (#""trtype":"tcp","traddr":"::1","reconnect_delay_sec":1"#, "-22 reconnect_delay_sec and "),
        (#""trtype":"tcp""#, "-32603 spdk_json_decode_object failed"),
        (
            #""trtype":"tcp","traddr":"127.0.0.1","trsvcid":"1","attach_timeout_ms":100"#,
            "-110 discovery service \"D\": not everything was attached in 0.1 seconds: connect to "
                + "127.0.0.1 port 1: Connection refused"
        ),
    ])
    func `refuse a discovery service`(members: String, answer: String) async throws {
        let service = try await StorageService()
        let found = try await service.call(
            "bdev_nvme_start_discovery", #"{"name":"D",\#(members)}"#)
        #expect(found.hasPrefix(answer), "\(found)")
        #expect(try await service.call("bdev_nvme_get_discovery_info") == "[]")
        #expect(await !service.saved().contains("discovery"))
    }

    @Test func `follow a discovery service, and save it as SPDK does`() async throws {
        let service = try await StorageService()
        let params = #"{"name":"D","trtype":"tcp","traddr":"127.0.0.1","hostnqn":"nqn.h:1"}"#
        #expect(try await service.call("bdev_nvme_start_discovery", params) == "true")
        #expect(
            try await service.call("bdev_nvme_start_discovery", params).hasPrefix(
                "-17 discovery service \"D\" follows tcp 127.0.0.1 port 8009; stop it first"))
        let info = try await service.value("bdev_nvme_get_discovery_info")
        #expect(info.array?.first?["trid"]?["trsvcid"] == "8009")
        #expect(info.array?.first?["referrals"] == [])
        #expect(
            await service.saved().contains(
                #"{"method":"bdev_nvme_start_discovery","params":{"name":"D","hostnqn":"nqn.h:1","#
                    + #""trtype":"TCP","adrfam":"IPv4","traddr":"127.0.0.1","trsvcid":"8009","#
                    + #""wait_for_attach":true,"ctrlr_loss_timeout_sec":0,"#
                    + #""reconnect_delay_sec":0,"fast_io_fail_timeout_sec":0,"subnqns":[]}}"#))
        let again = #"{"method":"bdev_nvme_start_discovery","params":\#(params)}"#
        #expect(try await service.call("softsnap_apply", again) == "true")
        #expect(try await service.call("bdev_nvme_stop_discovery", #"{"name":"D"}"#) == "true")
        #expect(
            try await service.call("bdev_nvme_stop_discovery", #"{"name":"D"}"#)
                == "-2 no discovery service \"D\"")
    }

    @Test(arguments: [
        ("bdev_nvme_detach_controller", #"{"name":"X"}"#, "-19 "),
        ("bdev_nvme_reset_controller", #"{"name":"X"}"#, "-19 "),
        ("bdev_nvme_reset_controller", #"{"name":1}"#, "-32602 Invalid argument"),
        ("bdev_nvme_get_controllers", #"{"name":"X"}"#, "22 Controller X does not exist"),
        ("bdev_nvme_get_io_paths", #"{"name":"X"}"#, "-19 "),
        (
            "bdev_nvme_set_multipath_policy", #"{"name":"X","policy":"active_active"}"#, "-19 "
        ),
        (
            "bdev_nvme_set_multipath_policy",
            #"{"name":"X","policy":"active_active","selector":"queue_depth"}"#,
            "-95 selector queue_depth is not served; use round_robin"
        ),
    ])
    func `know no such thing`(method: String, params: String, answer: String) async throws {
        let service = try await StorageService()
        let found = try await service.call(method, params)
        #expect(found.hasPrefix(answer), "\(found)")
    }
}
