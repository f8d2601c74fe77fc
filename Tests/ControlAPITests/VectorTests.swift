import ControlAPI
import Emulation
import Hardware
import JSONRPC
import Platform
import Testing

private let pf = "TVBLKS0D0F0"

@Suite struct `MSI-X pool` {
    /// A PF with a controller `p` and VFs of so many vectors.
    private func service(_ vfs: [Int] = [4, 4], open: Bool = true) async throws -> StorageService {
        let service = try await StorageService()
        service.manager.addPF(vfs: vfs)
        if open {
            _ = try await service.call(
                "virtio_blk_controller_create",
                #"{"pf_id":0,"ctrl_id":"p","dynamic_msix":true}"#)
        }
        return service
    }

    private func pool(_ service: StorageService) async throws -> JSONValue? {
        try await service.value("virtio_blk_controller_list", #"{"ctrl_id":"p"}"#)
            .array?.first?["free_msix"]
    }

    @Test func `follows the documented sequence`() async throws {
        let service = try await service()
        #expect(try await pool(service) == 0)
        #expect(
            try await service.call(
                "virtio_blk_controller_vfs_msix_reclaim", #"{"ctrl_id":"p"}"#) == "true")
        let listed = try await service.value("virtio_blk_controller_list").array?.first
        #expect(listed?["free_msix"] == 8)
        #expect(listed?["num_free_msix"] == 8)
        #expect(listed?["free_queues"] == 8)
        #expect(listed?["dynamic_msix"] == true)
        #expect(
            try await service.call(
                "virtio_blk_controller_create",
                #"{"pf_id":0,"vf_id":0,"ctrl_id":"v","vf_num_msix":6}"#) == #"{"ctrl_id":"v"}"#)
        #expect(service.manager.edit { $0.lastOffer?.vectorCount } == 6)
        #expect(try await pool(service) == 2)
        let vf = try await service.value("virtio_blk_controller_list", #"{"ctrl_id":"v"}"#)
            .array?.first
        #expect(vf?["num_msix"] == 6)
        #expect(vf?["num_queues"] == 5)
        #expect(vf?["min configurable num_msix"] == 2)
        #expect(vf?["max configurable num_msix"] == 8)
        #expect(vf?["free_msix"] == nil)
        #expect(
            try await service.call(
                "virtio_blk_controller_destroy", #"{"ctrl_id":"v","release_msix":true}"#)
                == "true")
        #expect(try await pool(service) == 8)
    }

    @Test func `keeps a VF's vectors when its controller goes without a release`() async throws {
        let service = try await service()
        let create = #"{"pf_id":0,"vf_id":1,"ctrl_id":"v"}"#
        _ = try await service.call("virtio_blk_controller_create", create)
        _ = try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"v"}"#)
        #expect(service.manager["\(pf)VF2"]?.identity.vectorCount == 4)
        _ = try await service.call("virtio_blk_controller_create", create)
        #expect(service.manager.edit { $0.lastOffer?.vectorCount } == nil)
        #expect(service.manager.edit { $0.lastOffer?.queueCount } == 3)
    }

    @Test(arguments: [
        #""pf_id":0,"vf_id":1"#, #""vuid":"TVBLKS0D0F0VF2""#, #""vhca_id":4"#,
        #""pci_bdf":"26:0c.1""#,
    ])
    func `opens a VF by any name`(selector: String) async throws {
        let service = try await service()
        service.manager.edit("\(pf)VF2") { $0.identity.bdf = "26:0c.1" }
        #expect(
            try await service.call(
                "virtio_blk_controller_create", "{\(selector),\"ctrl_id\":\"v\"}")
                == #"{"ctrl_id":"v"}"#)
        #expect(service.manager["\(pf)VF2"]?.controller == "v")
    }

    @Test(arguments: [
        (
            #"{"vf_num_msix":4,"pf_id":0}"#,
            "-22 vf_num_msix is for VFs; function TVBLKS0D0F0 is a PF"
        ),
        (#"{"vf_num_msix":1,"pf_id":0,"vf_id":0}"#, "-32602"),
        (
            #"{"vf_num_msix":10,"pf_id":0,"vf_id":0}"#,
            "-28 vf_num_msix 10: VF TVBLKS0D0F0VF1 has 4 vectors and the pool of PF TVBLKS0D0F0 "
                + "has 5; at most 9"
        ),
        (
            #"{"vf_num_msix":4,"num_queues":4,"pf_id":0,"vf_id":0}"#,
            "-28 num_queues 4: function TVBLKS0D0F0VF1 has 64 queues and 4 vectors"
        ),
        (
            #"{"num_queues":3,"admin_q":true,"pf_id":0,"vf_id":0}"#,
            "-28 num_queues 3 and an admin queue"
        ),
        (
            #"{"pf_id":0,"vf_id":1}"#,
            "-28 VF TVBLKS0D0F0VF2 has 0 vectors; give vf_num_msix, at least 2, from the pool of "
                + "PF TVBLKS0D0F0, which has 5"
        ),
        (#"{"dynamic_msix":true,"pf_id":0,"vf_id":0}"#, "-22 dynamic_msix is for PFs"),
        (#"{"vf_id":0}"#, "-22 vf_id counts the VFs of a PF; give its pf_id"),
        (#"{"vuid":"x","vf_id":0}"#, "-22 vf_id counts"),
        (#"{"pf_id":0,"vf_id":2}"#, "-19 vf_id 2: PF TVBLKS0D0F0 has 2 VFs"),
        (#"{"pf_id":7,"vf_id":2}"#, "-19 no virtio-blk function has pf_id 7"),
        (#"{"pf_id":0,"vuid":"x"}"#, "-22 give one of vuid, vhca_id, pf_id, pci_bdf"),
        (#"{"pci_bdf":"00:00.0"}"#, #"-19 no virtio-blk function has pci_bdf "00:00.0""#),
        (#"{"pf_id":1}"#, "-19 no virtio-blk function has pf_id 1"),
    ])
    func `refuses a controller that cannot be`(params: String, answer: String) async throws {
        let service = try await service([4, 0])
        service.manager.edit(pf) { $0.freeVectorCount = 5 }
        service.manager.addPF(kind: .nvme)
        let before = try await service.call("emulation_function_list", #"{"all":true}"#)
        let found = try await service.call("virtio_blk_controller_create", params)
        #expect(found.hasPrefix(answer), "\(found)")
        #expect(try await service.call("emulation_function_list", #"{"all":true}"#) == before)
    }

    @Test func `opens a function by VUID without a list, when nothing is left to find out`()
        async throws
    {
        let service = try await service()
        let before = service.manager.edit { $0.queries }
        _ = try await service.call(
            "virtio_blk_controller_create",
            #"{"vuid":"TVBLKS0D0F0VF1","num_queues":1,"vf_num_msix":2}"#)
        #expect(service.manager.edit { $0.queries } == before)
        #expect(service.manager["\(pf)VF1"]?.identity.vectorCount == 2)
        for (vuid, queues, answer) in [
            ("x", 1, "-19 function x does not exist"), ("\(pf)VF1", 1, "-16 "),
            ("\(pf)VF2", 65535, "-28 num_queues 65535: function"), ("\(pf)VF2", 65536, "-32602 "),
        ] {
            let found = try await service.call(
                "virtio_blk_controller_create",
                "{\"vuid\":\"\(vuid)\",\"num_queues\":\(queues)}")
            #expect(found.hasPrefix(answer), "\(found)")
        }
    }

    @Test func `opens a PF before its VFs`() async throws {
        let service = try await service(open: false)
        let found = try await service.call(
            "virtio_blk_controller_create", #"{"pf_id":0,"vf_id":0}"#)
        #expect(found == "-16 the PF of TVBLKS0D0F0VF1 has no controller")
        // The refusal used up no number.
        #expect(
            try await service.call("virtio_blk_controller_create", #"{"pf_id":0}"#)
                == #"{"ctrl_id":"VblkCtrl1"}"#)
    }

    @Test func `reclaims for a PF's controller only`() async throws {
        let service = try await service()
        _ = try await service.call(
            "virtio_blk_controller_create", #"{"pf_id":0,"vf_id":0,"ctrl_id":"v"}"#)
        let method = "virtio_blk_controller_vfs_msix_reclaim"
        #expect(
            try await service.call(method, #"{"ctrl_id":"v"}"#)
                == #"-22 controller "v" is on VF TVBLKS0D0F0VF1; name the controller of its PF"#)
        #expect(
            try await service.call(method, #"{"ctrl_id":"p"}"#)
                == "-16 a VF of TVBLKS0D0F0 has a controller")
        #expect(try await service.call(method, #"{"ctrl_id":"x"}"#).hasPrefix("-19 "))
        #expect(
            try await service.call("nvme_controller_vfs_msix_reclaim", #"{"ctrl_id":"n"}"#)
                .hasPrefix(#"-19 NVMe controller "n" does not exist"#))
    }

    @Test func `releases a VF's vectors only, and by force while SR-IOV is on`() async throws {
        let service = try await service()
        _ = try await service.call(
            "virtio_blk_controller_create", #"{"pf_id":0,"vf_id":0,"ctrl_id":"v"}"#)
        let method = "virtio_blk_controller_destroy"
        let refused = try await service.call(method, #"{"ctrl_id":"p","release_msix":true}"#)
        #expect(refused.hasPrefix(#"-22 release_msix is for VFs; controller "p" is on PF"#))
        service.manager.edit("\(pf)VF1") { $0.isEnabled = true }
        #expect(
            try await service.call(method, #"{"ctrl_id":"v","release_msix":true}"#)
                == "-16 SR-IOV is enabled")
        #expect(service.manager["\(pf)VF1"]?.identity.vectorCount == 4)
        #expect(
            try await service.call(method, #"{"ctrl_id":"v","release_msix":true,"force":true}"#)
                == "true")
        #expect(service.manager["\(pf)VF1"]?.identity.vectorCount == 0)
    }

    @Test func `is in the saved configuration when the hardware forgets`() async throws {
        let service = try await service()
        _ = try await service.call(
            "virtio_blk_controller_vfs_msix_reclaim", #"{"ctrl_id":"p"}"#)
        _ = try await service.call(
            "virtio_blk_controller_create",
            #"{"pf_id":0,"vf_id":0,"ctrl_id":"v","vf_num_msix":6}"#)
        let calls = await service.context.configuration(of: "snap") ?? []
        #expect(
            calls.map { $0["method"] } == [
                "virtio_blk_controller_create", "virtio_blk_controller_vfs_msix_reclaim",
                "virtio_blk_controller_create",
            ])
        #expect(calls.first?["params"]?["dynamic_msix"] == true)
        #expect(calls.last?["params"]?["vf_num_msix"] == 6)
        let second = try await self.service(open: false)
        for call in calls {
            let params = call["params"].map { String(decoding: $0.encoded(), as: UTF8.self) }
            let answer = try await second.call(call["method"]?.string ?? "", params)
            #expect(!answer.hasPrefix("-"), "\(answer)")
        }
        #expect(await second.context.configuration(of: "snap") == calls)
    }
}

@Suite struct `MSI-X plan` {
    private func service(_ vfs: [Int], pool: Int = 0) async throws -> StorageService {
        let service = try await StorageService()
        service.manager.addPF(vfs: vfs)
        service.manager.edit(pf) { $0.freeVectorCount = pool }
        return service
    }

    private func plan(_ service: StorageService, _ params: String) async throws -> JSONValue {
        try await service.value("softsnap_msix_plan", params)
    }

    @Test func `fits what the pool has, and says what each VF gets`() async throws {
        let service = try await service([0, 0, 0], pool: 16)
        #expect(
            try await service.call("softsnap_msix_plan", #"{"pf_id":0,"vfs":[8,4]}"#)
                == #"{"fits":true,"needed":12,"available":16,"free_msix":16,"vfs":["#
                + #"{"vf_index":0,"num_msix":8,"num_queues":7},"#
                + #"{"vf_index":1,"num_msix":4,"num_queues":3}],"#
                + #""reason":"4 vectors are left in the pool then"}"#)
        let even = try await plan(service, #"{"vuid":"\#(pf)","count":3,"num_msix":100}"#)
        #expect(even["fits"] == false)
        #expect(even["needed"] == 300)
        #expect(even["vfs"]?.array?.last?["num_queues"] == 64)
        #expect(even["reason"] == "284 vectors are missing")
    }

    @Test func `counts what the VFs have, in the order of their creation`() async throws {
        let service = try await service([4, 4, 4], pool: 0)
        _ = try await service.call("virtio_blk_controller_create", #"{"pf_id":0,"ctrl_id":"p"}"#)
        let down = try await plan(service, #"{"ctrl_id":"p","vfs":[2,6]}"#)
        #expect(down["fits"] == true)
        #expect(down["available"] == 8)
        let up = try await plan(service, #"{"ctrl_id":"p","vfs":[6,2]}"#)
        #expect(up["fits"] == false)
        #expect(up["reason"]?.string?.contains("VF TVBLKS0D0F0VF1 would find 2 too few") == true)
        let over = try await plan(service, #"{"ctrl_id":"p","vfs":[6,6]}"#)
        #expect(
            over["reason"] == "4 vectors are missing; VFs outside of the plan hold 4")
    }

    @Test func `knows VFs that cannot change any more`() async throws {
        let service = try await service([4, 4], pool: 4)
        service.manager.edit("\(pf)VF1") { $0.controller = "v" }
        service.manager.edit("\(pf)VF2") { $0.isDriverBound = true }
        #expect(try await plan(service, #"{"pf_id":0,"vfs":[4,4]}"#)["fits"] == true)
        let held = try await plan(service, #"{"pf_id":0,"vfs":[6,4]}"#)
        #expect(held["reason"]?.string?.contains(#"a controller ("v")"#) == true)
        let bound = try await plan(service, #"{"pf_id":0,"vfs":[4,6]}"#)
        #expect(bound["fits"] == false)
        #expect(bound["reason"]?.string?.contains("in use by its host") == true)
    }

    @Test(arguments: [
        (#"{"pf_id":0,"vfs":[4,4,4]}"#, "-22 the plan has 3 VFs; PF TVBLKS0D0F0 has 2"),
        (#"{"pf_id":0,"vfs":[]}"#, "-22 the plan has 0 VFs"),
        (#"{"pf_id":0,"vfs":[4,1]}"#, #"-32602 parameter "vfs" is [4,1]"#),
        (#"{"pf_id":0,"vfs":[4,"4"]}"#, #"-32602 parameter "vfs""#),
        (#"{"pf_id":0,"vfs":4}"#, #"-32602 parameter "vfs""#),
        (#"{"pf_id":0,"vfs":[4],"count":1}"#, "-22 give either vfs, or count and num_msix"),
        (#"{"pf_id":0,"count":1}"#, "-22 give either vfs"),
        (#"{"pf_id":0}"#, "-22 give either vfs"),
        (#"{"vfs":[4]}"#, "-22 give one of ctrl_id, vuid, pf_id"),
        (#"{"pf_id":0,"ctrl_id":"c","vfs":[4]}"#, "-22 give one of ctrl_id, vuid, pf_id"),
        (#"{"ctrl_id":"c","vfs":[4]}"#, "-19 "),
        (#"{"pf_id":5,"vfs":[4]}"#, "-19 no virtio-blk function has pf_id 5"),
        (#"{"vuid":"TVBLKS0D0F0VF1","vfs":[4]}"#, "-22 function TVBLKS0D0F0VF1 is a VF"),
        (#"{"pf_id":1,"vfs":[4]}"#, "-22 function TVBLKS0D0F1 has no VFs"),
    ])
    func `refuses nonsense`(params: String, answer: String) async throws {
        let service = try await service([4, 4])
        service.manager.addPF()
        let found = try await service.call("softsnap_msix_plan", params)
        #expect(found.hasPrefix(answer), "\(found)")
    }
}
