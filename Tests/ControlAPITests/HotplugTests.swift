import ControlAPI
import Emulation
import Hardware
import JSONRPC
import Platform
import Testing

private let hotplug = "TVBLKS1D0F0"

@Suite(.timeLimit(.minutes(5))) struct `Hot plug` {
    /// A service with a hot-plug PF, and a controller `c` on it.
    private func service(
        hotplugLimit: Duration = .seconds(10)
    ) async throws -> StorageService {
        let service = try await StorageService(hotplugLimit: hotplugLimit)
        #expect(
            try await service.call("virtio_blk_function_create")
                == #"{"vhca_id":2,"vuid":"TVBLKS1D0F0"}"#)
        #expect(
            try await service.call(
                "virtio_blk_controller_create", #"{"vuid":"\#(hotplug)","ctrl_id":"c"}"#)
                == #"{"ctrl_id":"c"}"#)
        return service
    }

    private func plugged(_ service: StorageService) async throws -> JSONValue? {
        try await service.value("virtio_blk_controller_list").array?.first?["plugged"]
    }

    @Test func `goes all the way in two steps`() async throws {
        let service = try await service()
        #expect(try await plugged(service) == false)
        let wait = #"{"ctrl_id":"c","wait_for_done":true}"#
        #expect(try await service.call("virtio_blk_controller_hotplug", wait) == "true")
        #expect(service.manager[hotplug]?.hotplugState == .powerOn)
        #expect(try await plugged(service) == true)
        #expect(try await service.call("virtio_blk_controller_hotunplug", wait) == "true")
        #expect(service.manager[hotplug]?.hotplugState == .powerOff)
        #expect(
            try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"c"}"#) == "true")
        #expect(
            try await service.call("virtio_blk_function_destroy", #"{"vuid":"\#(hotplug)"}"#)
                == "true")
        #expect(service.manager[hotplug] == nil)
    }

    @Test func `passes on what the function is to be`() async throws {
        let service = try await StorageService()
        _ = try await service.call(
            "nvme_function_create",
            #"{"vid":6900,"id":1,"ssid":2,"ssvid":3,"revid":4,"class_code":67586,"num_msix":5,"#
                + #""total_vf":0}"#)
        let request = service.manager.edit { $0.lastRequest }
        #expect(request?.kind == .nvme)
        #expect(request?.vendorID == 6900)
        #expect(request?.deviceID == 1)
        #expect(request?.subsystemID == 2)
        #expect(request?.subsystemVendorID == 3)
        #expect(request?.revisionID == 4)
        #expect(request?.classCode == 0x10802)
        #expect(request?.vectorCount == 5)
    }

    @Test func `remembers bdev, queues and depth for the controller to come`() async throws {
        let service = try await StorageService()
        _ = try await service.call(
            "bdev_malloc_create", #"{"name":"M","block_size":512,"num_blocks":8}"#)
        _ = try await service.call(
            "virtio_blk_function_create", #"{"bdev":"M","num_queues":3,"queue_depth":64}"#)
        _ = try await service.call("virtio_blk_controller_create", #"{"vuid":"\#(hotplug)"}"#)
        let listed = try await service.value("virtio_blk_controller_list").array?.first
        #expect(listed?["bdev"] == "M")
        #expect(listed?["num_queues"] == 3)
        #expect(listed?["queue_size"] == 64)
    }

    @Test(arguments: [
        (#"{"total_vf":1}"#, "-95 total_vf is 1; hot-plug PFs have no SR-IOV"),
        (#"{"transitional_device":true}"#, "-95 transitional_device"),
        (#"{"num_msix":4,"num_queues":4}"#, "-28 num_queues 4 with num_msix 4"),
        (#"{"queue_depth":100}"#, "-22 queue_depth is 100; it must be a power of two"),
        (#"{"bdev":"X"}"#, #"-19 bdev "X" does not exist"#),
        (#"{"vid":65536}"#, "-32602"), (#"{"revid":256}"#, "-32602"),
        (#"{"class_code":16777216}"#, "-32602"), (#"{"num_msix":1}"#, "-32602"),
    ])
    func `refuses a function that cannot be`(params: String, answer: String) async throws {
        let service = try await StorageService()
        for method in ["virtio_blk_function_create", "virtio_blk_emulation_device_attach"] {
            let found = try await service.call(method, params)
            #expect(found.hasPrefix(answer), "\(found)")
        }
        #expect(try await service.call("emulation_function_list") == "[]")
    }

    @Test func `passes on that all ports are taken`() async throws {
        let service = try await StorageService()
        for _ in 0..<2 { _ = try await service.call("nvme_function_create") }
        #expect(try await service.call("nvme_function_create") == "-28 all 2 ports are taken")
    }

    @Test func `destroys a function of its own kind only, by one selector`() async throws {
        let service = try await service()
        service.manager.addPF(vfs: [4])
        for (params, answer) in [
            ("{}", "-22 give one of vuid, vhca_id to name the function; none was given"),
            (#"{"vuid":"x","vhca_id":2}"#, "-22 give one of vuid, vhca_id"),
            (#"{"vuid":"x"}"#, #"-19 no virtio-blk function has vuid "x""#),
            (#"{"vhca_id":3}"#, "-22 function TVBLKS0D0F1 is a static PF"),
            (#"{"vhca_id":4}"#, "-22 function TVBLKS0D0F1VF1 is a VF"),
            (#"{"vhca_id":2}"#, "-16 function TVBLKS1D0F0 is in use"),
        ] {
            let found = try await service.call("virtio_blk_function_destroy", params)
            #expect(found.hasPrefix(answer), "\(found)")
        }
        let other = try await service.call("nvme_function_destroy", #"{"vuid":"\#(hotplug)"}"#)
        #expect(other == "-19 function TVBLKS1D0F0 is virtio-blk, not NVMe")
        #expect(service.manager[hotplug] != nil)
    }

    @Test func `plugs controllers of hot-plug PFs only`() async throws {
        let service = try await service()
        service.manager.addPF()
        _ = try await service.call("virtio_blk_controller_create", #"{"pf_id":1,"ctrl_id":"s"}"#)
        for method in ["virtio_blk_controller_hotplug", "virtio_blk_controller_hotunplug"] {
            let none = try await service.call(method, #"{"ctrl_id":"x"}"#)
            #expect(none.hasPrefix(#"-19 virtio-blk controller "x" does not exist"#))
            let fixed = try await service.call(method, #"{"ctrl_id":"s"}"#)
            #expect(fixed.hasPrefix("-22 function TVBLKS0D0F1 is a static PF, not a hot-plug PF"))
        }
        for method in ["nvme_controller_hotplug", "nvme_controller_hotunplug"] {
            let none = try await service.call(method, #"{"ctrl_id":"n"}"#)
            #expect(none.hasPrefix(#"-19 NVMe controller "n" does not exist"#))
        }
    }

    @Test func `attaches in one step, before there is a controller`() async throws {
        let service = try await StorageService()
        for kind in ["nvme", "virtio_blk"] {
            let made = try await service.value("\(kind)_emulation_device_attach")
            let vuid = made["vuid"]?.string ?? ""
            #expect(service.manager[vuid]?.hotplugState == .powerOn)
        }
    }

    @Test func `detaches in two steps, by any selector`() async throws {
        for selector in [#""ctrl_id":"c""#, #""vhca_id":2"#, #""vuid":"\#(hotplug)""#] {
            let service = try await service()
            _ = try await service.call("virtio_blk_controller_hotplug", #"{"ctrl_id":"c"}"#)
            #expect(
                try await service.call("emulation_device_detach_prepare", "{\(selector)}")
                    == "true")
            _ = try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"c"}"#)
            #expect(
                try await service.call("emulation_device_detach", #"{"vhca_id":2}"#) == "true")
            #expect(service.manager[hotplug] == nil)
        }
    }

    @Test func `prepares nothing without a controller, or with two selectors`() async throws {
        let service = try await service()
        let two = try await service.call(
            "emulation_device_detach_prepare", #"{"ctrl_id":"c","vhca_id":2}"#)
        #expect(two.hasPrefix("-22 give one of vuid, vhca_id, ctrl_id"))
        _ = try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"c"}"#)
        let none = try await service.call("emulation_device_detach_prepare", #"{"vhca_id":2}"#)
        #expect(none.hasPrefix("-16 function TVBLKS1D0F0 has no controller"))
    }

    @Test func `takes a function from its host by surprise, once its controller is gone`()
        async throws
    {
        let service = try await service()
        _ = try await service.call("virtio_blk_controller_hotplug", #"{"ctrl_id":"c"}"#)
        let force = #"{"vhca_id":2,"force":true}"#
        #expect(try await service.call("emulation_device_detach", force).hasPrefix("-16 "))
        _ = try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"c"}"#)
        let gentle = try await service.call("emulation_device_detach", #"{"vhca_id":2}"#)
        #expect(gentle.hasPrefix("-16 "))
        #expect(try await service.call("emulation_device_detach", force) == "true")
        #expect(service.manager[hotplug] == nil)
    }

    @Test func `leaves a controller whose function is lost to be destroyed`() async throws {
        let service = try await service()
        service.manager.lose(hotplug)
        #expect(try await plugged(service) == false)
        let gone = try await service.call("virtio_blk_controller_hotplug", #"{"ctrl_id":"c"}"#)
        #expect(gone == "-19 function TVBLKS1D0F0 is gone; destroy its controller")
        let modified = try await service.call(
            "virtio_blk_controller_modify", #"{"ctrl_id":"c","num_queues":1}"#)
        #expect(modified.hasPrefix(#"-19 function TVBLKS1D0F0 of controller "c" is gone"#))
        #expect(
            try await service.call("virtio_blk_controller_destroy", #"{"ctrl_id":"c"}"#) == "true")
    }
}

@Suite(.timeLimit(.minutes(5))) struct `Waiting for the host` {
    private let wait = #"{"ctrl_id":"c","wait_for_done":true}"#

    private func service(
        after plug: HotplugState, limit: Duration = .seconds(10)
    ) async throws -> StorageService {
        let service = try await StorageService(hotplugLimit: limit)
        service.manager.edit {
            $0.afterPlug = plug
            $0.afterUnplug = .unplugging
        }
        _ = try await service.call("virtio_blk_function_create")
        _ = try await service.call(
            "virtio_blk_controller_create", #"{"vuid":"\#(hotplug)","ctrl_id":"c"}"#)
        return service
    }

    @Test func `holds the answer until the host has the function`() async throws {
        let service = try await service(after: .plugging)
        service.manager.edit(hotplug) { $0.isHostConnected = true }
        async let answer = service.call("virtio_blk_controller_hotplug", wait)
        while service.manager[hotplug]?.hotplugState != .plugging { await Task.yield() }
        service.manager.edit(hotplug) { $0.hotplugState = .powerOn }
        #expect(try await answer == "true")
    }

    @Test func `does not hold it without wait_for_done`() async throws {
        let service = try await service(after: .plugging, limit: .seconds(100))
        service.manager.edit(hotplug) { $0.isHostConnected = true }
        #expect(
            try await service.call("virtio_blk_controller_hotplug", #"{"ctrl_id":"c"}"#) == "true")
        #expect(
            try await service.call("virtio_blk_controller_hotunplug", #"{"ctrl_id":"c"}"#)
                == "true")
        #expect(service.manager[hotplug]?.hotplugState == .unplugging)
    }

    @Test func `is done when nobody is there to answer a plug`() async throws {
        let service = try await service(after: .plugging)
        #expect(try await service.call("virtio_blk_controller_hotplug", wait) == "true")
        #expect(service.manager[hotplug]?.hotplugState == .plugging)
    }

    @Test func `gives up on a silent host, naming function, state and cure`() async throws {
        let service = try await service(after: .plugging, limit: .milliseconds(50))
        service.manager.edit(hotplug) { $0.isHostConnected = true }
        let plug = try await service.call("virtio_blk_controller_hotplug", wait)
        #expect(plug.hasPrefix("-110 function TVBLKS1D0F0 is still HOTPLUG after 0.05 seconds"))
        #expect(plug.contains("virtio_blk_controller_hotunplug"))
        let unplug = try await service.call("virtio_blk_controller_hotunplug", wait)
        #expect(unplug.hasPrefix("-110 function TVBLKS1D0F0 is still HOTUNPLUG_PREPARE"))
        #expect(unplug.contains("emulation_device_detach --force"))
        let legacy = try await service.call(
            "emulation_device_detach_prepare", #"{"ctrl_id":"c"}"#)
        #expect(legacy.hasPrefix("-110 "))
    }

    @Test func `ends when the function is taken away meanwhile`() async throws {
        let service = try await service(after: .plugging)
        service.manager.edit(hotplug) { $0.isHostConnected = true }
        async let answer = service.call("virtio_blk_controller_hotplug", wait)
        while service.manager[hotplug]?.hotplugState != .plugging { await Task.yield() }
        service.manager.lose(hotplug)
        #expect(try await answer == "-19 function TVBLKS1D0F0 is gone; destroy its controller")
    }
}
