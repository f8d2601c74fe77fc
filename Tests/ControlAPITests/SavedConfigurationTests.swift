import ControlAPI
import JSONRPC
import Platform
import Testing

@Suite struct `Saved configurations` {
    private static let uuid = "11111111-2222-3333-4444-55555555555"

    /// Everything that a configuration can hold, with a base after what stands on it.
    private func fill(_ service: StorageService, _ path: String) async throws {
        let calls = [
            (
                "bdev_delay_create",
                #"{"name":"D","base_bdev_name":"M1","avg_read_latency":1,"p99_read_latency":2,"#
                    + #""avg_write_latency":3,"p99_write_latency":4}"#
            ),
            (
                "bdev_malloc_create",
                #"{"name":"M1","block_size":512,"num_blocks":8,"optimal_io_boundary":4}"#
            ),
            (
                "bdev_null_create",
                #"{"name":"N","block_size":4096,"num_blocks":8,"optimal_write_size":5}"#
            ),
            (
                "bdev_aio_create",
                #"{"name":"F","filename":"\#(path)","block_size":512,"readonly":true}"#
            ),
            ("bdev_error_create", #"{"base_name":"N","uuid":"\#(Self.uuid)9"}"#),
            ("bdev_set_qos_limit", #"{"name":"M1","rw_ios_per_sec":1000}"#),
            ("bdev_null_resize", #"{"name":"N","new_size":2}"#),
        ]
        for (method, params) in calls {
            #expect(try await !service.call(method, params).hasPrefix("-"), "\(method)")
        }
    }

    @Test func `rebuild the same bdevs, and end with the examination`() async throws {
        let path = "/tmp/saved-\(ProcessFacts.identifier).img"
        let file = try FileSystem.open(path, .replace)
        try file.write([UInt8](repeating: 0, count: 4096))
        defer { try? FileSystem.remove(path) }
        let first = try await StorageService()
        try await fill(first, path)
        let saved = try JSONValue.parse(await first.saved())
        let second = try await StorageService()
        for call in saved.array ?? [] {
            let params = call["params"].map { String(decoding: $0.encoded(), as: UTF8.self) }
            let answer = try await second.call(call["method"]?.string ?? "", params)
            #expect(!answer.hasPrefix("-"), "\(call) -> \(answer)")
        }
        #expect(await second.saved() == first.saved())
        let methods = saved.array?.map { $0["method"] ?? .null }
        #expect(
            methods == [
                "bdev_delay_create", "bdev_malloc_create", "bdev_null_create", "bdev_aio_create",
                "bdev_error_create", "bdev_set_qos_limit", "bdev_wait_for_examine",
            ])
        let before = try await first.value("bdev_get_bdevs").array ?? []
        let after = try await second.value("bdev_get_bdevs").array ?? []
        #expect(before == after)
        #expect(before.count == 5)
    }

    @Test func `forget what was deleted`() async throws {
        let service = try await StorageService()
        _ = try await service.call(
            "bdev_null_create", #"{"name":"N","block_size":4096,"num_blocks":8}"#)
        _ = try await service.call("spdk_bdev_create", #"{"bdev_name":"N"}"#)
        #expect(
            await service.context.configuration(of: "snap") == [
                ["method": "spdk_bdev_create", "params": ["bdev_name": "N"]]
            ])
        #expect(try await service.call("bdev_null_delete", #"{"name":"N"}"#) == "true")
        #expect(await service.saved() == #"[{"method":"bdev_wait_for_examine"}]"#)
        #expect(await service.context.configuration(of: "snap") == nil)
        #expect(await service.context.configuration(of: "x") == nil)
    }
}
