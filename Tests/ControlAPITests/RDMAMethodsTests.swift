import JSONRPC
import Testing

@Suite struct `RDMA devices` {
    @Test func `show what they advertise and what they give`() async throws {
        let service = try await StorageService()
        let listed = try await service.call("softsnap_rdma_resources")
        #expect(
            listed == #"[{"name":"mlx5_2","kind":"SF","page_size":65536,"bar_kib":256,"#
                + #""advertised_qps":131072,"usable_qps":32,"used_qps":2}]"#)
    }

    @Test func `are not used by the mapped data path`() async throws {
        let service = try await StorageService(reactorCount: 1)
        let shown = try await service.value("softsnap_data_path_get")
        #expect(shown["data_path"] == .string("mapped"))
        #expect(shown["device"] == .null)
        #expect(shown["queue_pairs"] == JSONValue(0))
        let reactors = try #require(shown["reactors"]?.array)
        #expect(reactors.count == 1)
        for name in [
            "queue_pairs", "queues", "staging_bytes", "transfers", "doorbells", "bytes_read",
            "bytes_written",
        ] { #expect(reactors.first?[name] == JSONValue(0), "\(name)") }
    }
}
