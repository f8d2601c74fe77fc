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
}
