import ControlAPI
import JSONRPC
import Platform
import Testing

@Suite struct `Socket methods` {
    private static let standard =
        #"{"recv_buf_size":2097152,"send_buf_size":2097152,"enable_recv_pipe":true,"#
        + #""enable_quickack":false,"enable_placement_id":0,"enable_zerocopy_send_server":true,"#
        + #""enable_zerocopy_send_client":false,"zerocopy_threshold":0,"tls_version":0,"#
        + #""enable_ktls":false}"#

    @Test func `begin with SPDK's options`() async throws {
        let service = try await StorageService(isInitialized: false)
        #expect(try await service.call("sock_get_default_impl") == #"{"impl_name":"posix"}"#)
        let posix = try await service.call("sock_impl_get_options", #"{"impl_name":"posix"}"#)
        #expect(posix == Self.standard)
        let uring = try await service.value("sock_impl_get_options", #"{"impl_name":"uring"}"#)
        #expect(uring["enable_zerocopy_send_server"] == false)
        #expect(await service.context.configuration(of: "sock") == nil)
    }

    @Test func `set what is given, and save it`() async throws {
        let service = try await StorageService(isInitialized: false)
        for options in [#""recv_buf_size":65536"#, #""enable_quickack":true"#] {
            let params = #"{"impl_name":"posix",\#(options)}"#
            #expect(try await service.call("sock_impl_set_options", params) == "true")
        }
        let found = try await service.value("sock_impl_get_options", #"{"impl_name":"posix"}"#)
        #expect(found["recv_buf_size"] == 65536 && found["send_buf_size"] == 2_097_152)
        #expect(found["enable_quickack"] == true)
        #expect(
            try await service.call("sock_set_default_impl", #"{"impl_name":"uring"}"#) == "true")
        #expect(try await service.call("sock_get_default_impl") == #"{"impl_name":"uring"}"#)
        let saved = try #require(await service.context.configuration(of: "sock"))
        #expect(
            saved.map(\.["method"]) == ["sock_set_default_impl", "sock_impl_set_options"])
        #expect(saved[1]["params"]?["recv_buf_size"] == 65536)
        #expect(saved[1]["params"]?["impl_name"] == "posix")
    }

    @Test(arguments: [
        ("sock_set_default_impl", #"{"impl_name":"ssl"}"#, "socket implementation \"ssl\" is not "),
        ("sock_impl_get_options", #"{"impl_name":"x"}"#, "socket implementation \"x\" is not "),
        (
            "sock_impl_set_options", #"{"impl_name":"x","recv_buf_size":1}"#,
            "socket implementation \"x\" is not known; use posix, uring or xlio"
        ),
        ("sock_set_default_impl", "{}", "Invalid parameters"),
        ("sock_impl_set_options", #"{"impl_name":"posix","psk_key":"k"}"#, "Invalid parameters"),
        ("sock_impl_set_options", #"{"impl_name":"posix","tls_version":-1}"#, "Invalid parameters"),
        ("sock_get_default_impl", "{}", "sock_get_default_impl requires no parameters"),
    ])
    func `refuse`(method: String, params: String, text: String) async throws {
        let service = try await StorageService(isInitialized: false)
        let answer = try await service.call(method, params)
        #expect(answer.hasPrefix("-32602 \(text)"), "\(answer)")
        #expect(await service.context.configuration(of: "sock") == nil)
    }

    @Test func `change nothing once the service runs`() async throws {
        let service = try await StorageService()
        for (method, params) in [
            ("sock_set_default_impl", #"{"impl_name":"uring"}"#),
            ("sock_impl_set_options", #"{"impl_name":"uring","recv_buf_size":1}"#),
        ] { #expect(try await service.call(method, params).hasPrefix("-1 Method may only be")) }
    }
}
