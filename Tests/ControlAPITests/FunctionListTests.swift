import Hardware
import JSONRPC
import Testing

@Suite struct `Function list` {
    @Test func `shows a PF with the documented keys in their order, and ours behind`() async throws
    {
        let service = try await StorageService()
        service.manager.addPF()
        let listed = try await service.call("emulation_function_list")
        #expect(
            listed == #"[{"hotplugged":false,"emulation_type":"VBLK","pf_index":0,"#
                + #""pci_bdf":"00:00.0","vhca_id":2,"vuid":"TVBLKS0D0F0","num_vfs":0,"vfs":[],"#
                + #""num_msix":9,"driver_bound":false,"host_connected":false}]"#)
    }

    @Test func `leaves out VFs that the host has not enabled, unless told`() async throws {
        let service = try await StorageService()
        let pf = service.manager.addPF(vfs: [4, 4, 4])
        service.manager.edit("\(pf)VF2") {
            $0.isEnabled = true
            $0.controller = "c"
            $0.isDriverBound = true
        }
        service.manager.edit(pf) { $0.enabledVFCount = 1 }
        let short = try await service.value("emulation_function_list").array?.first
        #expect(short?["num_vfs"] == 1)
        #expect(short?["num_enabled_vfs"] == 1)
        #expect(short?["free_msix"] == 0)
        let vf = short?["vfs"]?.array?.first
        #expect(
            vf?.object?.keys == [
                "hotplugged", "emulation_type", "pf_index", "vf_index", "pci_bdf", "vhca_id",
                "vuid", "ctrl_id", "num_msix", "driver_bound", "host_connected", "enabled",
            ])
        #expect(vf?["vf_index"] == 1)
        #expect(vf?["vuid"] == "TVBLKS0D0F0VF2")
        #expect(vf?["driver_bound"] == true)
        let long = try await service.value("emulation_function_list", #"{"all":true}"#)
        #expect(long.array?.first?["num_vfs"] == 3)
        #expect(long.array?.first?["vfs"]?.array?.map { $0["vf_index"] } == [0, 1, 2])
    }

    @Test func `gives a hot-plug PF its state`() async throws {
        let service = try await StorageService()
        _ = try await service.call("nvme_function_create")
        let pf = try await service.value("emulation_function_list").array?.first
        #expect(pf?["hotplugged"] == true)
        #expect(pf?["emulation_type"] == "NVME")
        #expect(pf?["hotplug state"] == "POWER_OFF")
        #expect(pf?.object?.keys.prefix(3) == ["hotplugged", "hotplug state", "emulation_type"])
    }

    @Test func `keeps functions of one index but another kind apart`() async throws {
        let service = try await StorageService()
        service.manager.addPF(vfs: [4])
        service.manager.addPF(vfs: [4, 4], kind: .nvme)
        let listed = try await service.value("emulation_function_list", #"{"all":true}"#)
        #expect(listed.array?.map { $0["num_vfs"] } == [1, 2])
    }

    @Test func `asks the hardware once, for 250 VFs too`() async throws {
        let service = try await StorageService()
        service.manager.addPF(vfs: Array(repeating: 2, count: 250))
        let start = ContinuousClock.now
        let listed = try await service.value("emulation_function_list", #"{"all":true}"#)
        #expect(listed.array?.first?["vfs"]?.array?.count == 250)
        #expect(service.manager.edit { $0.queries } == 1)
        #expect(ContinuousClock.now - start < .seconds(2))
    }
}
