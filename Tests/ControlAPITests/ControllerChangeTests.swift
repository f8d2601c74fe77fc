import ControlAPI
import Emulation
import Hardware
import JSONRPC
import Platform
import Testing

private let pf = "TVBLKS0D0F0"
private let vf = "TVBLKS0D0F0VF1"

/// `virtio_blk_controller_modify`, and what a refused close leaves behind.
@Suite(.timeLimit(.minutes(5))) struct `Controller changes` {
    /// PF controller `p`, VF controller `v` with 4 vectors and 2 queues, 4 vectors in the pool, and
    /// `h` with 3 queues on a hot-plug PF of 9 vectors.
    private func service() async throws -> StorageService {
        let service = try await StorageService()
        service.manager.addPF(vfs: [4, 0])
        service.manager.edit(pf) { $0.freeVectorCount = 4 }
        _ = try await service.call("virtio_blk_function_create")
        for params in [
            #"{"pf_id":0,"ctrl_id":"p","num_queues":2}"#,
            #"{"pf_id":0,"vf_id":0,"ctrl_id":"v","num_queues":2,"vblk_id":"S","seg_max":8}"#,
            #"{"pf_id":1,"ctrl_id":"h","num_queues":3}"#,
        ] {
            let answer = try await service.call("virtio_blk_controller_create", params)
            #expect(answer.hasPrefix("{"), "\(answer)")
        }
        return service
    }

    private func modify(_ service: StorageService, _ params: String) async throws -> String {
        try await service.call("virtio_blk_controller_modify", params)
    }

    private func numbers(_ service: StorageService, _ name: String) async throws -> [JSONValue?] {
        let listed = try await service.value(
            "virtio_blk_controller_list", "{\"ctrl_id\":\"\(name)\"}"
        ).array?.first
        return [listed?["num_queues"], listed?["num_msix"]]
    }

    @Test func `reach a VF's queues and vectors together`() async throws {
        let service = try await service()
        let before = try await service.value("virtio_blk_controller_list").array ?? []
        #expect(
            try await modify(service, #"{"ctrl_id":"v","num_queues":7,"num_msix":8}"#) == "true")
        #expect(try await numbers(service, "v") == [7, 8])
        #expect(
            try await modify(service, #"{"ctrl_id":"v","num_queues":1,"num_msix":2}"#) == "true")
        #expect(try await numbers(service, "v") == [1, 2])
        #expect(service.manager[pf]?.freeVectorCount == 6)
        #expect(
            try await modify(service, #"{"ctrl_id":"v","num_queues":2,"num_msix":4}"#) == "true")
        // Everything else is as it was, its place in the list too.
        #expect(try await service.value("virtio_blk_controller_list").array == before)
    }

    @Test func `reach vectors alone without closing anything`() async throws {
        let service = try await service()
        let lease = service.manager.edit { $0.lastOffer }
        #expect(try await modify(service, #"{"ctrl_id":"v","num_msix":3}"#) == "true")
        #expect(try await modify(service, #"{"ctrl_id":"h","num_msix":20}"#) == "true")
        #expect(try await numbers(service, "v") == [2, 3])
        #expect(try await numbers(service, "h") == [3, 20])
        #expect(service.manager.edit { $0.lastOffer } == lease)
    }

    @Test func `reach a hot-plug PF before it is shown to the host`() async throws {
        let service = try await service()
        #expect(
            try await modify(service, #"{"ctrl_id":"h","num_queues":15,"num_msix":16}"#) == "true")
        #expect(try await numbers(service, "h") == [15, 16])
        #expect(
            try await modify(service, #"{"ctrl_id":"h","num_queues":1,"num_msix":2}"#) == "true")
        #expect(try await numbers(service, "h") == [1, 2])
        _ = try await service.call("virtio_blk_controller_hotplug", #"{"ctrl_id":"h"}"#)
        let found = try await modify(service, #"{"ctrl_id":"h","num_msix":4}"#)
        #expect(found.hasPrefix("-16 function TVBLKS1D0F1 is POWER_ON"))
    }

    @Test(arguments: [
        (#"{"ctrl_id":"x","num_queues":1}"#, "-19 "),
        (#"{"ctrl_id":"p","num_msix":4}"#, "-95 num_msix: function TVBLKS0D0F0 is a static PF"),
        (#"{"ctrl_id":"p","num_queues":1}"#, "-95 num_queues: function TVBLKS0D0F0 is a static PF"),
        (#"{"ctrl_id":"v","num_msix":9}"#, "-28 num_msix 9: function TVBLKS0D0F0VF1 has 4"),
        (#"{"ctrl_id":"v","num_msix":2}"#, "-28 num_queues 2: function TVBLKS0D0F0VF1"),
        (#"{"ctrl_id":"v","num_queues":4}"#, "-28 num_queues 4: function TVBLKS0D0F0VF1"),
        (#"{"ctrl_id":"v","num_queues":8,"num_msix":8}"#, "-28 num_queues 8"),
        (#"{"ctrl_id":"h","num_queues":65,"num_msix":65}"#, "-28 num_queues 65"),
        (#"{"ctrl_id":"v","num_queues":0}"#, "-32602"),
    ])
    func `are refused with the reason, and change nothing`(
        params: String, answer: String
    ) async throws {
        let service = try await service()
        let before = try await state(service)
        let found = try await modify(service, params)
        #expect(found.hasPrefix(answer), "\(found)")
        #expect(try await state(service) == before)
    }

    @Test func `to what is there already are none`() async throws {
        let service = try await service()
        #expect(
            try await modify(service, #"{"ctrl_id":"p","num_queues":2,"num_msix":9}"#) == "true")
        #expect(try await modify(service, #"{"ctrl_id":"p"}"#) == "true")
    }

    @Test func `wait until no host uses the function`() async throws {
        let service = try await service()
        let params = #"{"ctrl_id":"v","num_queues":1}"#
        service.manager.edit(vf) { $0.isDriverBound = true }
        #expect(try await modify(service, params).hasPrefix("-16 function \(vf) is in use"))
        service.manager.edit(vf) {
            $0.isDriverBound = false
            $0.isHostConnected = true
        }
        #expect(try await modify(service, params).hasPrefix("-16 function \(vf) is in use"))
        service.manager.edit(vf) {
            $0.isHostConnected = false
            $0.isEnabled = true
        }
        #expect(try await modify(service, params) == "true")
    }

    @Test func `that the hardware refuses are taken back`() async throws {
        let service = try await service()
        let before = try await state(service)
        for params in [
            #"{"ctrl_id":"v","num_queues":5,"num_msix":6}"#,
            #"{"ctrl_id":"h","num_queues":12,"num_msix":16}"#,
            #"{"ctrl_id":"h","num_queues":1,"num_msix":2}"#,
        ] {
            service.manager.edit { $0.failingOpens = 1 }
            #expect(try await modify(service, params) == "-5 the hardware is ill")
            #expect(try await state(service) == before)
        }
    }

    @Test func `that cannot be taken back say so`() async throws {
        let service = try await service()
        service.manager.edit { $0.failingOpens = 2 }
        let found = try await modify(service, #"{"ctrl_id":"v","num_queues":1}"#)
        #expect(found.contains(#"controller "v" is closed"#), "\(found)")
        #expect(
            try await service.call("virtio_blk_controller_list", #"{"ctrl_id":"v"}"#)
                .hasPrefix("-19 "))
        // Its name is free again.
        let again = try await service.call(
            "virtio_blk_controller_create", #"{"pf_id":0,"vf_id":0,"ctrl_id":"v"}"#)
        #expect(again == #"{"ctrl_id":"v"}"#)
    }

    @Test func `keep a suspended controller suspended`() async throws {
        let service = try await service()
        _ = try await service.call("virtio_blk_controller_suspend", #"{"ctrl_id":"v"}"#)
        #expect(try await modify(service, #"{"ctrl_id":"v","num_queues":1}"#) == "true")
        let controller = try await service.context.controllers.find("v")
        #expect(await controller.state == .suspended(eventsOnly: false))
        let half = #"{"ctrl_id":"h","events_only":true}"#
        _ = try await service.call("virtio_blk_controller_suspend", half)
        let refused = try await modify(service, #"{"ctrl_id":"h","num_queues":1}"#)
        #expect(refused.hasPrefix(#"-16 controller "h" has its events suspended"#))
    }

    @Test(arguments: [nil, true, false])
    func `that end in a refused close leave the state it came from`(
        eventsOnly: Bool?
    ) async throws {
        let service = try await service()
        let controller = try await service.context.controllers.find("v")
        switch eventsOnly {
        case true: try await controller.suspendEvents()
        case false: try await controller.suspend(within: nil)
        default: break
        }
        let before = await controller.state
        service.manager.edit { $0.closeRefusal = HardwareError(ErrorNumber.busy, "no") }
        #expect(
            try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"v"}"#)
                == "-16 no")
        #expect(await controller.state == before)
        #expect(before == (eventsOnly.map { .suspended(eventsOnly: $0) } ?? .running))
        service.manager.edit { $0.closeRefusal = nil }
        #expect(
            try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"v"}"#) == "true")
    }

    private func state(_ service: StorageService) async throws -> [String] {
        [
            try await service.call("virtio_blk_controller_list"),
            try await service.call("emulation_function_list", #"{"all":true}"#),
        ]
    }
}
