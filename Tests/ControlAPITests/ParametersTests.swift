import ControlAPI
import JSONRPC
import Testing

/// Calls one method and answers what its handler saw.
private func call(
    _ method: String, _ params: String?,
    _ handler: @escaping @Sendable (Parameters) -> JSONValue = { _ in true }
) async throws -> String {
    let service = try await TestService()
    service.registry.register(method) { parameters in handler(parameters) }
    return try await service.call(method, params)
}

@Suite struct `Checked parameters` {
    @Test(arguments: [
        nil, "[]", "[1]", "{}", #"{"block_size":512}"#, #"{"num_blocks":1,"block_size":"512"}"#,
        #"{"num_blocks":1,"block_size":512,"unknown":1}"#, #"{"num_blocks":1.5,"block_size":512}"#,
        #"{"num_blocks":-0,"block_size":512}"#, #"{"num_blocks":1,"block_size":4294967296}"#,
        #"{"num_blocks":18446744073709551616,"block_size":512}"#,
        #"{"num_blocks":1,"block_size":512,"name":null}"#,
        #"{"num_blocks":1,"block_size":512,"name":"a\u0000"}"#,
        #"{"num_blocks":1,"block_size":512,"uuid":""}"#,
        #"{"num_blocks":1,"block_size":512,"uuid":"11111111222233334444555555555555"}"#,
        #"{"num_blocks":1,"block_size":512,"uuid":"{1111111-2222-3333-4444-55555555555}"}"#,
        #"{"num_blocks":1,"block_size":512,"md_interleave":1}"#,
        #"{"num_blocks":1,"block_size":512,"dif_type":2147483648}"#,
    ])
    func `that are wrong answer the method's decode error`(params: String?) async throws {
        let answer = try await call("bdev_malloc_create", params)
        #expect(answer == "-32603 spdk_json_decode_object failed")
    }

    @Test(arguments: [
        ("bdev_examine", "-32602 spdk_json_decode_object failed"),
        ("bdev_uring_create", "-32603 Unable to create URING bdev."),
        ("bdev_error_inject_error", "-32603 spdk_json_decode_object failed"),
    ])
    func `have the decode error of their method`(method: String, answer: String) async throws {
        #expect(try await call(method, "{}") == answer)
    }

    @Test func `arrive in their usual form`() async throws {
        let params =
            #"{"num_blocks":1024e1,"block_size":512.0,"name":"\u004d0","numa_id":-1,"#
            + #""uuid":"ABCDEF00-1111-2222-3333-444444444444","md_interleave":true}"#
        let answer = try await call("bdev_malloc_create", params) { parameters in
            [
                JSONValue(parameters.unsigned("num_blocks")),
                JSONValue(parameters.unsigned("block_size")), .string(parameters.string("name")),
                JSONValue(parameters.signed("numa_id")),
                .string(parameters.optionalString("uuid") ?? ""),
                .bool(parameters.flag("md_interleave")), .bool(parameters.has("md_size")),
                JSONValue(parameters.unsigned("md_size")),
                .bool(parameters.optionalUnsigned("physical_block_size") == nil),
            ]
        }
        #expect(
            answer
                == #"[10240,512,"M0",-1,"abcdef00-1111-2222-3333-444444444444",true,false,0,true]"#)
    }

    @Test func `treat the zero UUID as left out`() async throws {
        let params =
            #"{"num_blocks":1,"block_size":512,"uuid":"00000000-0000-0000-0000-000000000000"}"#
        let answer = try await call("bdev_malloc_create", params) { .bool($0.has("uuid")) }
        #expect(answer == "false")
    }

    @Test func `take a word that is not offered, and refuse others`() async throws {
        let update = #"{"delay_bdev_name":"d","latency_us":1,"latency_type":"#
        let good = try await call("bdev_delay_update_latency", update + "\"p99_read\"}")
        let bad = try await call("bdev_delay_update_latency", update + "\"P99_READ\"}")
        #expect(good == "true")
        #expect(bad == "-32602 Please specify a valid latency type.")
    }

    @Test func `take name and names of either version`() async throws {
        let answer = try await call("bdev_get_iostat", #"{"names":["a","b"]}"#) {
            JSONValue(strings: $0.optionalStrings("names") ?? [])
        }
        #expect(answer == #"["a","b"]"#)
        let many = "{\"names\":[" + Array(repeating: "\"a\"", count: 1025).joined(separator: ",")
        let refusal = "-32603 spdk_json_decode_object failed"
        #expect(try await call("bdev_get_iostat", many + "]}") == refusal)
        #expect(try await call("bdev_get_iostat", #"{"names":[1]}"#) == refusal)
    }

    @Test(arguments: [
        (
            #"{"nmu_queues":1}"#,
            "virtio_blk_controller_create has no parameter \"nmu_queues\"; it takes vuid, vhca_id,"
        ),
        (
            #"{"queue_size":512}"#,
            "parameter \"queue_size\" is 512; give an integer from 1 to 256"
        ),
        (
            #"{"num_queues":"4"}"#,
            "parameter \"num_queues\" is \"4\"; give an integer from 1 to 65535"
        ),
        (#"{"suspended":2}"#, "parameter \"suspended\" is 2; give true or false"),
        (
            #"{"vblk_id":"123456789012345678901"}"#,
            "parameter \"vblk_id\" is \"123456789012345678901\"; give a string of at most 20 bytes"
        ),
        (#"{"dbg_bdev_type":"x"}"#, "parameter \"dbg_bdev_type\" is \"x\"; give one of null"),
        (#"{"admin_q":true,"dbg_admin_q":true}"#, "parameter \"admin_q\" is given twice; give it"),
        ("[]", "params of virtio_blk_controller_create are a list; give an object"),
    ])
    func `of SNAP say what to change`(params: String, text: String) async throws {
        let answer = try await call("virtio_blk_controller_create", params)
        #expect(answer.hasPrefix("-32602 " + text))
    }

    @Test func `of SNAP name what is missing, and take an empty object`() async throws {
        let missing = try await call("virtio_blk_controller_resume", nil)
        let text = "parameter \"ctrl_id\" of virtio_blk_controller_resume is missing; give it"
        #expect(missing == "-32602 " + text)
        #expect(try await call("bdev_list", "{}") == "true")
        let taken = try await call("bdev_list", #"{"a":1}"#)
        #expect(taken == "-32602 bdev_list has no parameter \"a\"; it takes none")
    }

    @Test func `of SNAP have defaults, aliases and booleans as numbers`() async throws {
        let params = #"{"dbg_admin_q":1,"suspended":0}"#
        let answer = try await call("virtio_blk_controller_create", params) { parameters in
            [
                .bool(parameters.flag("admin_q")), .bool(parameters.flag("suspended")),
                JSONValue(parameters.unsigned("queue_size")),
                JSONValue(parameters.unsigned("size_max")),
                JSONValue(parameters.unsigned("seg_max")),
            ]
        }
        #expect(answer == "[true,false,256,4096,1]")
    }

    @Test func `stop a handler that asks for what the schema does not have`() async {
        await #expect(processExitsWith: .failure) {
            _ = try await call("bdev_list", nil) { .bool($0.flag("no_such_parameter")) }
        }
        await #expect(processExitsWith: .failure) {
            _ = try await call("bdev_get_bdevs", nil) { .bool($0.flag("name")) }
        }
        await #expect(processExitsWith: .failure) {
            _ = try await call("bdev_get_bdevs", nil) { .string($0.string("name")) }
        }
    }
}
