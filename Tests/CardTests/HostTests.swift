import Card
import Hardware
import Platform
import Testing

@Suite struct `SR-IOV` {
    private func ready() -> Card {
        var card = exampleCard()
        card.setController("P", of: pf0)
        return card
    }

    @Test func `shows the first VFs to the host`() throws {
        var card = ready()
        for vf in [vf0, vf1] { card.setController("C" + vf, of: vf) }
        #expect(try card.setVFCount(2, of: pf0, autoprobe: true).isEmpty)
        #expect(try card.function(vf1).isEnabled)
        #expect(try card.function(vf1).identity.bdf == "28:00.1")
        #expect(try card.function(vf1).isDriverBound)
        #expect(try !card.function(pf0 + "VF3").isEnabled)
        _ = try card.setVFCount(0, of: pf0, autoprobe: true)
        #expect(try card.function(vf1).identity.bdf == "00:00.0")
        #expect(try !card.function(vf1).isDriverBound)
    }

    @Test func `refuses what a kernel refuses`() throws {
        var card = ready()
        expectRefusal(card, ErrorNumber.range, "sriov_totalvfs 4", "VIRTIO_BLK_EMULATION_NUM_VF") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(5, of: pf0, autoprobe: false)
        }
        _ = try card.setVFCount(2, of: pf0, autoprobe: false)
        expectRefusal(card, ErrorNumber.busy, "2 VFs enabled", "0") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(3, of: pf0, autoprobe: false)
        }
        expectRefusal(card, ErrorNumber.invalid, "only static PFs") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(1, of: vf0, autoprobe: false)
        }
        expectRefusal(exampleCard(), ErrorNumber.invalid, "no controller") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(1, of: pf0, autoprobe: false)
        }
        let plugged = try card.createFunction(FunctionRequest(kind: .virtioBlk)).vuid
        expectRefusal(card, ErrorNumber.invalid, "hot-plug PF", "SR-IOV") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(1, of: plugged, autoprobe: false)
        }
        card.hostConnected(vf0)
        expectRefusal(card, ErrorNumber.busy, "virtual machine", vf0) {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(0, of: pf0, autoprobe: false)
        }
    }

    @Test func `needs the firmware's consent`() throws {
        var configuration = CardConfiguration()
        configuration.virtioBlk.vfCount = 4
        configuration.hasSRIOV = false
        var card = Card(configuration)
        card.setController("P", of: pf0)
        expectRefusal(card, ErrorNumber.notSupported, "SRIOV_EN") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(1, of: pf0, autoprobe: false)
        }
    }

    @Test func `warns of what hosts do with many VFs`() throws {
        var configuration = CardConfiguration()
        configuration.virtioBlk.vfCount = 251
        var card = Card(configuration)
        card.setController("P", of: pf0)
        expectRefusal(card, ErrorNumber.noSpace, "250", "PCI_SWITCH_EMULATION_ENABLE=0") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(251, of: pf0, autoprobe: false)
        }
        let warnings = try card.setVFCount(250, of: pf0, autoprobe: true)
        #expect(warnings.contains { $0.contains("250 VFs have no controller") })
        #expect(warnings.contains { $0.contains("sriov_drivers_autoprobe") })
        #expect(warnings.contains { $0.contains("pci=assign-busses") })
        #expect(Set(card.functions.map(\.identity.bdf)).count == card.functions.count)
    }
}

@Suite struct `The built-in host` {
    @Test func `stands back from a virtual machine`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        card.hostConnected(pf0)
        expectRefusal(card, ErrorNumber.busy, "virtual machine") {
            (card) throws(HardwareError) in try card.bindDriver(pf0)
        }
        expectRefusal(card, ErrorNumber.busy, "virtual machine") {
            (card) throws(HardwareError) in try card.unbindDriver(pf0)
        }
        expectRefusal(card, ErrorNumber.busy, "virtual machine") {
            (card) throws(HardwareError) in try card.checkReset(pf0)
        }
        expectRefusal(card, ErrorNumber.busy, "virtual machine") {
            (card) throws(HardwareError) in try card.powerOnHost()
        }
        expectRefusal(card, ErrorNumber.busy, "virtual machine") {
            (card) throws(HardwareError) in _ = try card.setVFCount(1, of: pf0, autoprobe: false)
        }
        #expect(try !card.listing(pf0).isDriverBound)
        card.machineDriver(of: pf0, isRunning: true)
        #expect(try card.listing(pf0).isDriverBound)
        card.hostLeft(pf0)
        card.machineDriver(of: pf0, isRunning: true)
        #expect(try !card.listing(pf0).isDriverBound)
        try card.checkReset(pf0)
    }

    @Test func `binds drivers to what answers`() throws {
        var card = exampleCard()
        expectRefusal(card, ErrorNumber.again, "no controller") {
            (card) throws(HardwareError) in try card.bindDriver(pf0)
        }
        expectRefusal(card, ErrorNumber.noDevice, "no driver bound") {
            (card) throws(HardwareError) in try card.unbindDriver(pf0)
        }
        card.setController("P", of: pf0)
        expectRefusal(card, ErrorNumber.busy, "already") {
            (card) throws(HardwareError) in try card.bindDriver(pf0)
        }
        try card.unbindDriver(pf0)
        try card.bindDriver(pf0)
        expectRefusal(card, ErrorNumber.noDevice, "enable it with sriov") {
            (card) throws(HardwareError) in try card.bindDriver(vf0)
        }
    }

    @Test func `loses addresses and VFs with its power`() throws {
        var card = exampleCard()
        card.setController("P", of: pf0)
        _ = try card.setVFCount(2, of: pf0, autoprobe: false)
        let plugged = try card.createFunction(FunctionRequest(kind: .virtioBlk)).vuid
        card.setController("H", of: plugged)
        try card.plug(plugged)
        try card.powerOffHost()
        #expect(card.functions.allSatisfy { $0.identity.bdf == "00:00.0" && !$0.isDriverBound })
        #expect(try card.function(plugged).hotplug == .powerOn)
        #expect(try !card.function(vf0).isEnabled)
        expectRefusal(card, ErrorNumber.invalid, "power") {
            (card) throws(HardwareError) in try card.powerOffHost()
        }
        expectRefusal(card, ErrorNumber.invalid, "no power") {
            (card) throws(HardwareError) in
            _ = try card.setVFCount(1, of: pf0, autoprobe: false)
        }
        try card.powerOnHost()
        #expect(try card.function(pf0).identity.bdf == "20:00.0")
        #expect(try card.function(plugged).identity.bdf == "61:00.0")
        expectRefusal(card, ErrorNumber.invalid, "power already") {
            (card) throws(HardwareError) in try card.powerOnHost()
        }
    }
}

@Suite struct `Hot-plug functions` {
    @Test func `come in two steps and go in two`() throws {
        var card = exampleCard()
        let made = try card.createFunction(FunctionRequest(kind: .virtioBlk))
        #expect(made.vuid == "SOFTSNAP0001VBLKS1D0F0")
        #expect(made.bdf == "00:00.0" && made.isHotplugged && made.pfIndex == 2)
        expectRefusal(card, ErrorNumber.invalid, "no controller") {
            (card) throws(HardwareError) in try card.plug(made.vuid)
        }
        card.setController("H", of: made.vuid)
        try card.plug(made.vuid)
        #expect(try card.listing(made.vuid).hotplugState == .powerOn)
        #expect(try card.function(made.vuid).identity.bdf == "61:00.0")
        try card.plug(made.vuid)
        #expect(try card.listing(made.vuid).hotplugState == .powerOn)
        card.setController(nil, of: made.vuid)
        expectRefusal(card, ErrorNumber.busy, "hotunplug") {
            (card) throws(HardwareError) in try card.destroyFunction(made.vuid, force: false)
        }
        card.setController("H", of: made.vuid)
        try card.unplug(made.vuid)
        #expect(try card.listing(made.vuid).hotplugState == .powerOff)
        expectRefusal(card, ErrorNumber.busy, "\"H\"") {
            (card) throws(HardwareError) in try card.destroyFunction(made.vuid, force: true)
        }
        card.setController(nil, of: made.vuid)
        try card.destroyFunction(made.vuid, force: false)
        #expect(!card.contains(made.vuid))
    }

    @Test func `wait for a virtual machine to let go`() throws {
        var card = exampleCard()
        let vuid = try card.createFunction(FunctionRequest(kind: .virtioBlk)).vuid
        card.setController("H", of: vuid)
        try card.plug(vuid)
        card.hostConnected(vuid)
        try card.unplug(vuid)
        #expect(try card.listing(vuid).hotplugState == .unplugging)
        try card.unplug(vuid)
        expectRefusal(card, ErrorNumber.busy, "HOTUNPLUG_PREPARE") {
            (card) throws(HardwareError) in try card.plug(vuid)
        }
        card.hostLeft(vuid)
        try card.unplug(vuid)
        #expect(try card.listing(vuid).hotplugState == .powerOff)
    }

    @Test func `wait for a host without power`() throws {
        var card = exampleCard()
        try card.powerOffHost()
        let vuid = try card.createFunction(FunctionRequest(kind: .nvme)).vuid
        card.setController("H", of: vuid)
        try card.plug(vuid)
        #expect(try card.listing(vuid).hotplugState == .plugging)
        try card.powerOnHost()
        #expect(try card.listing(vuid).hotplugState == .powerOn)
    }

    @Test func `fill the ports of the switch`() throws {
        var card = exampleCard()
        for _ in 0..<31 { _ = try card.createFunction(FunctionRequest(kind: .virtioBlk)) }
        expectRefusal(card, ErrorNumber.noSpace, "31", "PCI_SWITCH_EMULATION_NUM_PORT") {
            (card) throws(HardwareError) in
            _ = try card.createFunction(FunctionRequest(kind: .virtioBlk))
        }
        try card.destroyFunction("SOFTSNAP0001VBLKS7D0F0", force: false)
        #expect(
            try card.createFunction(FunctionRequest(kind: .nvme)).vuid == "SOFTSNAP0001NVMES7D0F0")
        var configuration = CardConfiguration()
        configuration.switchPortCount = 0
        expectRefusal(Card(configuration), ErrorNumber.notSupported, "PCI_SWITCH_EMULATION") {
            (card) throws(HardwareError) in
            _ = try card.createFunction(FunctionRequest(kind: .virtioBlk))
        }
        var request = FunctionRequest(kind: .virtioBlk)
        request.vectorCount = 1
        expectRefusal(exampleCard(), ErrorNumber.range, "num_msix is 1") {
            (card) throws(HardwareError) in _ = try card.createFunction(request)
        }
    }

    @Test func `are not static functions`() {
        expectRefusal(exampleCard(), ErrorNumber.invalid, "static") {
            (card) throws(HardwareError) in try card.plug(pf0)
        }
        expectRefusal(exampleCard(), ErrorNumber.invalid, "static") {
            (card) throws(HardwareError) in try card.destroyFunction(pf0, force: true)
        }
    }
}
