import Bdev
import ControlAPI
import JSONRPC
import Platform
import Testing

private let uuid = "11111111-2222-3333-4444-555555555555"
private let malloc =
    #"{"name":"M1","block_size":4096,"num_blocks":2048,"uuid":"\#(uuid)"}"#

@Suite struct `Bdev methods` {
    @Test func `describe a bdev in SPDK's order`() async throws {
        let service = try await StorageService()
        #expect(try await service.call("bdev_malloc_create", malloc) == "\"M1\"")
        let text =
            #"[{"name":"M1","aliases":["\#(uuid)"],"product_name":"Malloc disk","#
            + #""block_size":4096,"num_blocks":2048,"preferred_write_alignment":0,"#
            + #""preferred_write_granularity":0,"optimal_write_size":0,"#
            + #""preferred_unmap_alignment":0,"preferred_unmap_granularity":0,"#
            + #""uuid":"\#(uuid)","numa_id":-1,"assigned_rate_limits":{"rw_ios_per_sec":0,"#
            + #""rw_mbytes_per_sec":0,"r_mbytes_per_sec":0,"w_mbytes_per_sec":0},"#
            + #""claimed":false,"zoned":false,"supported_io_types":{"read":true,"write":true,"#
            + #""unmap":true,"flush":true,"reset":true,"nvme_admin":false,"nvme_io":false,"#
            + #""nvme_io_md":false,"write_zeroes":true,"zcopy":false,"get_zone_info":false,"#
            + #""zone_management":false,"zone_append":false,"compare":false,"#
            + #""compare_and_write":false,"abort":false,"seek_hole":false,"seek_data":false,"#
            + #""copy":false,"nvme_iov_md":false,"nvme_nssr":false,"write_uncorrectable":false},"#
            + #""driver_specific":{}}]"#
        #expect(try await service.call("bdev_get_bdevs", #"{"name":"\#(uuid)"}"#) == text)
        #expect(try await service.call("bdev_get_bdevs", "{}") == text)
        #expect(try await service.call("bdev_get_bdevs") == text)
    }

    @Test func `wait for a bdev that comes later`() async throws {
        let service = try await StorageService()
        let params = #"{"name":"M1","timeout":60000}"#
        async let found = service.value("bdev_get_bdevs", params)
        try await Task.sleep(for: .milliseconds(30))
        _ = try await service.call("bdev_malloc_create", malloc)
        #expect(try await found.array?.first?["name"] == "M1")
        let start = ContinuousClock.now
        let late = try await service.call("bdev_get_bdevs", #"{"name":"M2","timeout":50}"#)
        #expect(late == "-110 Connection timed out")
        #expect(ContinuousClock.now - start >= .milliseconds(50))
        let now = try await service.call("bdev_get_bdevs", #"{"name":"M2","timeout":0}"#)
        #expect(now == "-19 No such device")
    }

    @Test(arguments: [
        (#"{"block_size":512,"num_blocks":0}"#, "-22 Invalid argument"),
        (#"{"block_size":100,"num_blocks":1}"#, "-22 Invalid argument"),
        (#"{"block_size":0,"num_blocks":1}"#, "-12 Cannot allocate memory"),
        (#"{"name":"","block_size":512,"num_blocks":1}"#, "-22 Invalid argument"),
        (#"{"block_size":512,"num_blocks":1,"md_size":9}"#, "-22 Invalid argument"),
        (#"{"name":"M1","block_size":512,"num_blocks":1}"#, "-17 File exists"),
        (#"{"uuid":"\#(uuid)","block_size":512,"num_blocks":1}"#, "-17 File exists"),
        (#"{"block_size":512,"num_blocks":1152921504606846975}"#, "-22 Invalid argument"),
        (#"{"block_size":512,"num_blocks":9007199254740991}"#, "-12 Cannot allocate memory"),
        (#"{"block_size":512}"#, "-32603 spdk_json_decode_object failed"),
        (
            #"{"block_size":512,"num_blocks":1,"md_size":8}"#,
            "-95 md_size 8: bdevs with metadata or protection information are not served; "
                + "leave md_size and dif_type out"
        ),
    ])
    func `refuse a malloc bdev and keep no memory for it`(
        params: String, answer: String
    ) async throws {
        let service = try await StorageService()
        _ = try await service.call("bdev_malloc_create", malloc)
        #expect(try await service.call("bdev_malloc_create", params) == answer)
        #expect(service.manager.fileNames == [uuid])
        #expect(service.bdevs.devices.map(\.name) == ["M1"])
    }

    @Test func `number malloc bdevs and free their memory when they go`() async throws {
        let service = try await StorageService()
        let params = #"{"block_size":512,"num_blocks":8}"#
        #expect(try await service.call("bdev_malloc_create", params) == "\"Malloc0\"")
        #expect(try await service.call("bdev_malloc_create", params) == "\"Malloc1\"")
        let deleted = try await service.call("bdev_malloc_delete", #"{"name":"Malloc1"}"#)
        #expect(deleted == "true")
        #expect(try await service.call("bdev_malloc_create", params) == "\"Malloc2\"")
        #expect(service.manager.fileNames.count == 2)
        let other = try await service.call("bdev_null_delete", #"{"name":"Malloc0"}"#)
        #expect(other == "-19 No such device")
    }

    @Test func `keep a bdev that a controller works on, also from above`() async throws {
        let service = try await StorageService()
        _ = try await service.call("bdev_malloc_create", malloc)
        _ = try await service.call("bdev_error_create", #"{"base_name":"M1"}"#)
        let use = try service.bdevs.device("EE_M1").open(for: "virtio-blk controller \"c\"") { _ in
        }
        let above = try await service.call("bdev_error_delete", #"{"name":"EE_M1"}"#)
        #expect(
            above == "-16 bdev \"EE_M1\" is attached to virtio-blk controller \"c\"; detach it or "
                + "destroy the controller first")
        let below = try await service.call("bdev_malloc_delete", #"{"name":"M1"}"#)
        #expect(
            below == "-16 bdev \"M1\" is attached to virtio-blk controller \"c\" (by way of bdev "
                + "\"EE_M1\"); detach it or destroy the controller first")
        use.close()
        #expect(try await service.call("bdev_malloc_delete", #"{"name":"M1"}"#) == "true")
        let gone = try await service.call("bdev_get_bdevs", #"{"name":"EE_M1"}"#)
        #expect(gone == "-19 No such device")
    }

    @Test func `resize a null bdev in MiB`() async throws {
        let service = try await StorageService()
        let params = #"{"name":"N","block_size":512,"num_blocks":8}"#
        #expect(try await service.call("bdev_null_create", params) == "\"N\"")
        let resized = try await service.call("bdev_null_resize", #"{"name":"N","new_size":3}"#)
        #expect(resized == "true")
        let listed = try await service.value("bdev_get_bdevs", #"{"name":"N"}"#)
        #expect(listed.array?.first?["num_blocks"] == 6144)
        #expect(listed.array?.first?["supported_io_types"]?["flush"] == false)
        #expect(await service.saved().contains(#""num_blocks":6144"#))
        for size in ["0", "18446744073709551615"] {
            let params = #"{"name":"N","new_size":\#(size)}"#
            #expect(try await service.call("bdev_null_resize", params) == "-22 Invalid argument")
        }
        _ = try await service.call("bdev_malloc_create", malloc)
        let other = try await service.call("bdev_null_resize", #"{"name":"M1","new_size":1}"#)
        #expect(other == "-22 Invalid argument")
    }

    @Test func `examine by request only when told so at the start`() async throws {
        let service = try await StorageService(isInitialized: false)
        let small = #"{"bdev_io_pool_size":511,"bdev_io_cache_size":256}"#
        let refusal = try await service.call("bdev_set_options", small)
        #expect(refusal == "-32602 Pool size 511 too small for cache size 256")
        let options = #"{"bdev_auto_examine":false}"#
        #expect(try await service.call("bdev_set_options", options) == "true")
        try await service.initialize()
        #expect(try await service.call("bdev_examine", #"{"name":"x"}"#) == "true")
        #expect(try await service.call("bdev_examine", #"{"name":"x"}"#) == "-17 File exists")
        #expect(try await service.call("bdev_wait_for_examine") == "true")
        let automatic = try await StorageService()
        let examined = try await automatic.call("bdev_examine", #"{"name":"x"}"#)
        #expect(examined == "-22 Invalid argument")
        let empty = try await automatic.call("bdev_wait_for_examine", "{}")
        #expect(empty == "-32602 bdev_wait_for_examine requires no parameters")
    }
}

@Suite struct `Virtual bdev methods` {
    private let delay =
        #"{"name":"D","base_bdev_name":"M1","avg_read_latency":1,"p99_read_latency":2,"#
        + #""avg_write_latency":3,"p99_write_latency":4,"uuid":"\#(uuid)"}"#

    @Test func `wait for their base and come back with it`() async throws {
        let service = try await StorageService()
        #expect(try await service.call("bdev_delay_create", delay) == "\"D\"")
        #expect(try await service.call("bdev_delay_create", delay) == "-17 File exists")
        #expect(try await service.call("bdev_get_bdevs") == "[]")
        let base = #"{"name":"M1","block_size":512,"num_blocks":8}"#
        _ = try await service.call("bdev_malloc_create", base)
        let listed = try await service.value("bdev_get_bdevs", #"{"name":"D"}"#)
        let specific =
            #"{"delay":{"name":"D","base_bdev_name":"M1","uuid":"\#(uuid)","#
            + #""avg_read_latency":1,"p99_read_latency":2,"avg_write_latency":3,"#
            + #""p99_write_latency":4}}"#
        #expect(listed.array?.first?["driver_specific"] == (try JSONValue.parse(specific)))
        #expect(try service.bdevs.device("M1").isClaimed)
        let claimed = try await service.call("bdev_error_create", #"{"base_name":"M1"}"#)
        #expect(claimed == "-1 Operation not permitted")
        let wrong = try await service.call("bdev_error_delete", #"{"name":"D"}"#)
        #expect(wrong == "-19 No such device")
        #expect(try await service.call("bdev_delay_delete", #"{"name":"D"}"#) == "true")
        #expect(try await service.call("bdev_delay_delete", #"{"name":"D"}"#).hasPrefix("-19"))
        let slow = delay.replacing("\"avg_read_latency\":1", with: "\"avg_read_latency\":9")
        #expect(try await service.call("bdev_delay_create", slow) == "-22 Invalid argument")
    }

    @Test func `change a latency of a delay bdev only`() async throws {
        let service = try await StorageService()
        _ = try await service.call("bdev_delay_create", delay)
        let update = #"{"delay_bdev_name":"D","latency_type":"p99_read","latency_us":7}"#
        let missing = try await service.call("bdev_delay_update_latency", update)
        #expect(missing == "-32602 The requested bdev does not exist.")
        let base = #"{"name":"M1","block_size":512,"num_blocks":8}"#
        _ = try await service.call("bdev_malloc_create", base)
        #expect(try await service.call("bdev_delay_update_latency", update) == "true")
    }

    @Test(arguments: [
        (#""io_type":"read","error_type":"failure""#, "true"),
        (#""io_type":"clear","error_type":"failure""#, "true"),
        (#""io_type":"all","error_type":"nomem","num":4,"queue_depth":2"#, "true"),
        (#""io_type":"write","error_type":"corrupt_data","corrupt_value":1"#, "true"),
        (#""io_type":"write","error_type":"corrupt_data""#, "-22 Invalid argument"),
        (#""io_type":"compare","error_type":"failure""#, "-32603 spdk_json_decode_object failed"),
        (
            #""io_type":"read","error_type":"nvme_failure""#,
            "-22 nvme_sct or nvme_sc should be specified for NVMe error injection"
        ),
        (
            #""io_type":"read","error_type":"nvme_failure","nvme_sc":1"#,
            "-95 error_type nvme_failure: no bdev here has NVMe status codes; use failure"
        ),
    ])
    func `inject what SPDK injects`(params: String, answer: String) async throws {
        let service = try await StorageService()
        _ = try await service.call("bdev_malloc_create", malloc)
        let plain = try await service.call(
            "bdev_error_inject_error", #"{"name":"M1","io_type":"read","error_type":"failure"}"#)
        #expect(plain == "-19 No such device")
        #expect(try await service.call("bdev_error_create", #"{"base_name":"M1"}"#) == "true")
        let inject = #"{"name":"EE_M1",\#(params)}"#
        #expect(try await service.call("bdev_error_inject_error", inject) == answer)
    }
}
