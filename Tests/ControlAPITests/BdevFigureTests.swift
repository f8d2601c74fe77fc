import JSONRPC
import Testing

@Suite struct `Bdev figures` {
    private func service() async throws -> StorageService {
        let service = try await StorageService()
        for name in ["A", "B"] {
            let params = #"{"name":"\#(name)","block_size":512,"num_blocks":8}"#
            _ = try await service.call("bdev_null_create", params)
        }
        return service
    }

    @Test func `count I/O of one bdev, several or all`() async throws {
        let service = try await service()
        let all = try await service.value("bdev_get_iostat")
        #expect(all["bdevs"]?.array?.map { $0["name"] } == ["A", "B"])
        let keys = try #require(all["bdevs"]?.array?.first?.object?.keys)
        #expect(
            keys == [
                "name", "bytes_read", "num_read_ops", "bytes_written", "num_write_ops",
                "bytes_unmapped", "num_unmap_ops", "bytes_copied", "num_copy_ops",
                "read_latency_ticks", "max_read_latency_ticks", "min_read_latency_ticks",
                "write_latency_ticks", "max_write_latency_ticks", "min_write_latency_ticks",
                "unmap_latency_ticks", "max_unmap_latency_ticks", "min_unmap_latency_ticks",
                "copy_latency_ticks", "max_copy_latency_ticks", "min_copy_latency_ticks",
                "io_error",
            ])
        for params in [#"{"name":"B"}"#, #"{"names":["B"],"reset_mode":"all"}"#] {
            let one = try await service.value("bdev_get_iostat", params)
            #expect(one["bdevs"]?.array?.map { $0["name"] } == ["B"])
        }
        let channels = try await service.value(
            "bdev_get_iostat", #"{"name":"A","per_channel":true}"#)
        #expect(channels["name"] == "A")
        #expect(channels["channels"] == [])
    }

    @Test(arguments: [
        ("bdev_get_iostat", #"{"name":"x"}"#, "-19 No such device"),
        ("bdev_get_iostat", #"{"names":["A","x"]}"#, "-19 No such device"),
        ("bdev_get_iostat", #"{"per_channel":true}"#, "-22 Invalid argument"),
        ("bdev_get_iostat", #"{"names":["A","B"],"per_channel":true}"#, "-22 Invalid argument"),
        ("bdev_reset_iostat", #"{"name":"x"}"#, "-19 No such device"),
        ("bdev_reset_iostat", #"{"name":"A","mode":"maxmin"}"#, "true"),
        ("bdev_reset_iostat", #"{"mode":"none"}"#, "true"),
        ("bdev_set_qos_limit", #"{"name":"A"}"#, "-22 No rate limits specified"),
        ("bdev_set_qos_limit", #"{"name":"x","rw_ios_per_sec":1}"#, "-19 No such device"),
        ("bdev_enable_histogram", #"{"name":"x","enable":true}"#, "-19 No such device"),
        (
            "bdev_enable_histogram", #"{"name":"A","enable":true,"opc":"x"}"#,
            "-32603 Invalid Io type"
        ),
        ("bdev_get_histogram", #"{"name":"x"}"#, "-19 No such device"),
        ("bdev_set_qd_sampling_period", #"{"name":"x","period":1}"#, "-19 No such device"),
    ])
    func `answer as SPDK does`(method: String, params: String, answer: String) async throws {
        #expect(try await service().call(method, params) == answer)
    }

    @Test func `show the queue depth while it is sampled`() async throws {
        let service = try await service()
        let start = #"{"name":"A","period":5000}"#
        #expect(try await service.call("bdev_set_qd_sampling_period", start) == "true")
        let figures = try await service.value("bdev_get_iostat", #"{"name":"A"}"#)
        let sampled = try #require(figures["bdevs"]?.array?.first?.object)
        #expect(
            sampled.keys.suffix(4) == [
                "queue_depth_polling_period", "queue_depth", "io_time", "weighted_io_time",
            ])
        #expect(sampled["queue_depth_polling_period"] == 5000)
        _ = try await service.call("bdev_set_qd_sampling_period", #"{"name":"A","period":0}"#)
        let plain = try await service.value("bdev_get_iostat", #"{"name":"A"}"#)
        #expect(plain["bdevs"]?.array?.first?.object?.keys.last == "io_error")
    }

    @Test func `limit rates, rounded, one without the others`() async throws {
        let service = try await service()
        for params in [
            #"{"name":"A","rw_ios_per_sec":1500,"r_mbytes_per_sec":2}"#,
            #"{"name":"A","w_mbytes_per_sec":7,"r_mbytes_per_sec":0}"#,
        ] { #expect(try await service.call("bdev_set_qos_limit", params) == "true") }
        let limits =
            #"{"rw_ios_per_sec":2000,"rw_mbytes_per_sec":0,"r_mbytes_per_sec":0,"#
            + #""w_mbytes_per_sec":7}"#
        let listed = try await service.value("bdev_get_bdevs", #"{"name":"A"}"#)
        let found = listed.array?.first?["assigned_rate_limits"]
        #expect(found == (try JSONValue.parse(limits)))
    }

    @Test func `give a histogram of 7424 buckets`() async throws {
        let service = try await service()
        for enable in ["true", "false"] {
            let params = #"{"name":"A","enable":\#(enable),"opc":"read"}"#
            #expect(try await service.call("bdev_enable_histogram", params) == "true")
        }
        let answer = try await service.value("bdev_get_histogram", #"{"name":"A"}"#)
        #expect(
            answer.object?.keys == [
                "histogram", "bucket_shift", "granularity", "min_range", "max_range", "tsc_rate",
            ])
        let text = try #require(answer["histogram"]?.string)
        #expect(text.utf8.count == 79192)
        #expect(text.utf8.suffix(3).elementsEqual("A==".utf8))
        #expect(answer["max_range"] == 57)
    }
}
