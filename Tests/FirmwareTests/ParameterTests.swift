import Testing

@testable import Firmware

@Suite struct `Firmware parameters` {
    @Test func `are named once and default to a value of their range`() {
        #expect(Set(FirmwareParameter.allCases.map(\.name)).count == 50)
        #expect(FirmwareParameter.allCases.count == 50)
        for parameter in FirmwareParameter.allCases {
            let definition = parameter.definition
            #expect(definition.contains(definition.defaultValue), "\(parameter)")
            #expect(!definition.meaning.isEmpty)
            if let ignored = definition.ignoredValue { #expect(definition.contains(ignored)) }
            for requirement in definition.requirements {
                #expect(requirement.parameter != parameter)
                #expect(
                    requirement.parameter.definition.scope == .card
                        || definition.scope == .port, "\(parameter) needs a port's parameter")
            }
        }
    }

    @Test(
        arguments: [
            ("PF_TOTAL_SF=236", 236), ("pf_total_sf=0xEC", 236), ("PF_TOTAL_SF=0", 0),
            ("SRIOV_EN=True", 1), ("SRIOV_EN=false", 0), ("SRIOV_EN=1", 1), ("SRIOV_EN=True(1)", 1),
            ("BAR_PAGE_ALIGNMENT=DEVICE_DEFAULT", 0), ("BAR_PAGE_ALIGNMENT=ALIGN_64KB(2)", 2),
            ("INTERNAL_CPU_MODEL=embedded_cpu", 1), ("PF_SF_BAR_SIZE=DEVICE_DEFAULT", 0),
            ("NVME_EMULATION_CLASS_CODE=0x10802", 67586), ("NVME_EMULATION_NUM_PF=64", 64),
            ("VIRTIO_BLK_EMULATION_NUM_VF=2000", 2000), ("PCI_SWITCH_EMULATION_NUM_PORT=32", 32),
            ("EXP_ROM_NVME_UEFI_x86_ENABLE=1", 1),
        ] as [(String, UInt64)])
    func `take numbers and names`(text: String, value: UInt64) throws {
        #expect(try FirmwareAssignment(text).value == value)
    }

    @Test(arguments: [
        ("PF_TOTAL_SF=65536", "PF_TOTAL_SF=65536 is out of range; it takes 0…65535"),
        ("PF_TOTAL_SF=-1", "PF_TOTAL_SF=-1 is out of range; it takes 0…65535"),
        ("PF_TOTAL_SF=+1", "PF_TOTAL_SF=+1 is out of range; it takes 0…65535"),
        ("PF_TOTAL_SF=0x", "PF_TOTAL_SF=0x is out of range; it takes 0…65535"),
        ("PF_TOTAL_SF=0x-1", "PF_TOTAL_SF=0x-1 is out of range; it takes 0…65535"),
        ("PF_TOTAL_SF=", "PF_TOTAL_SF= is out of range; it takes 0…65535"),
        (
            "PF_TOTAL_SF=99999999999999999999",
            "PF_TOTAL_SF=99999999999999999999 is out of range; it takes 0…65535"
        ),
        ("SRIOV_EN=2", "SRIOV_EN=2 is out of range; it takes False(0) or True(1)"),
        ("SRIOV_EN=yes", "SRIOV_EN=yes is out of range; it takes False(0) or True(1)"),
        (
            "BAR_PAGE_ALIGNMENT=3",
            "BAR_PAGE_ALIGNMENT=3 is out of range; it takes DEVICE_DEFAULT(0), ALIGN_4KB(1), "
                + "ALIGN_64KB(2)"
        ),
        (
            "PCI_SWITCH_EMULATION_NUM_PORT=1",
            "PCI_SWITCH_EMULATION_NUM_PORT=1 is out of range; it takes 0 or 2…32"
        ),
        ("PF_SF_BAR_SIZE=1", "PF_SF_BAR_SIZE=1 is out of range; it takes 0 or 2…16"),
        (
            "NVME_EMULATION_NUM_VF=257",
            "NVME_EMULATION_NUM_VF=257 is out of range; it takes 0…256"
        ),
        (
            "VIRTIO_BLK_EMULATION_NUM_PF=65",
            "VIRTIO_BLK_EMULATION_NUM_PF=65 is out of range; it takes 0…64"
        ),
        (
            "NVME_EMULATION_MAX_QUEUE_DEPTH=13",
            "NVME_EMULATION_MAX_QUEUE_DEPTH=13 is out of range; it takes 0…12"
        ),
        ("PF_TOTAL_SF", "\"PF_TOTAL_SF\" is not KEY=VALUE, such as PF_TOTAL_SF=236"),
        ("=1", "\"=1\" is not KEY=VALUE, such as PF_TOTAL_SF=236"),
        (
            "PF_TOTAL_SFS=1",
            "PF_TOTAL_SFS is no parameter of this device; did you mean PF_TOTAL_SF?"
        ),
        (
            "NVME_EMULATION_ENABLED=1",
            "NVME_EMULATION_ENABLED is no parameter of this device; did you mean "
                + "NVME_EMULATION_ENABLE?"
        ),
        (
            "NVME_EMU_MNG_ENABLE=1",
            "NVME_EMU_MNG_ENABLE is for a second emulation manager; this card has one, so use "
                + "the *_EMULATION_* parameters"
        ),
    ])
    func `refuse what they cannot hold, and say what they can`(text: String, message: String) {
        let error = #expect(throws: FirmwareError.self) { try FirmwareAssignment(text) }
        #expect(error.map { "\($0)" } == message)
    }

    @Test func `come once in a command`() {
        #expect(throws: FirmwareError.repeatedKey(.sriovEnable)) {
            try FirmwareAssignment.list(["SRIOV_EN=1", "sriov_en=1"])
        }
    }

    @Test func `know the ports by all names of their devices`() throws {
        for name in ["/dev/mst/mt41692_pciconf0", "0000:03:00.0", "03:00.0", "mlx5_0"] {
            #expect(try CardPort(device: name) == .first)
        }
        for name in ["/dev/mst/mt41692_pciconf0.1", "0000:03:00.1", "03:00.1", "mlx5_1"] {
            #expect(try CardPort(device: name) == .second)
        }
        let error = #expect(throws: FirmwareError.self) { try CardPort(device: "mlx5_2") }
        #expect(
            error.map { "\($0)" }
                == "no device mlx5_2; the devices are /dev/mst/mt41692_pciconf0, 0000:03:00.0, "
                + "03:00.0, mlx5_0; /dev/mst/mt41692_pciconf0.1, 0000:03:00.1, 03:00.1, mlx5_1")
    }
}

@Suite struct `Firmware configuration` {
    private func configuration(_ assignments: String...) throws -> FirmwareConfiguration {
        var configuration = FirmwareConfiguration()
        try configuration.apply(FirmwareAssignment.list(assignments), to: .first)
        return configuration
    }

    @Test func `holds one static virtio-blk PF and nothing else by default`() {
        let standard = FirmwareConfiguration()
        #expect(standard.virtioBlk.pfCount == 1 && standard.virtioBlk.vfCount == 0)
        #expect(standard.virtioBlk.pfVectorCount == 65)
        #expect(standard.virtioBlk.identity.vendorID == 0x1AF4)
        #expect(standard.virtioBlk.identity.deviceID == 0x1042)
        #expect(standard.nvme.pfCount == 0 && standard.nvme.pfVectorCount == 0)
        #expect(standard.hotplugPFCount == 0 && !standard.isSRIOVEnabled)
        #expect(standard.subfunctionBARKiB(of: .first) == 256)
        for port in CardPort.allCases { #expect(standard.ignored(on: port).isEmpty) }
    }

    @Test func `gives an SF a larger BAR only when the whole chain is set`() throws {
        let chain = ["PF_BAR2_ENABLE=0", "PER_PF_NUM_SF=1", "PF_TOTAL_SF=236", "PF_SF_BAR_SIZE=10"]
        for mask in 0..<16 {
            let chosen = chain.indices.filter { mask & 1 << $0 != 0 }.map { chain[$0] }
            var configuration = FirmwareConfiguration()
            try configuration.apply(FirmwareAssignment.list(chosen), to: .first)
            #expect(configuration.effective(.pfSubfunctionBARSize) == (mask == 15 ? 10 : 8))
            #expect(configuration.subfunctionBARKiB(of: .second) == 256)
        }
    }

    @Test func `says what is ignored, what it needs and what that is now`() throws {
        #expect(
            try configuration("PF_SF_BAR_SIZE=10").ignored(on: .first).map(\.description) == [
                "PF_SF_BAR_SIZE=10 is ignored: it needs PER_PF_NUM_SF=1 (now False(0)) and "
                    + "PF_BAR2_ENABLE=0 (now True(1)) and PF_TOTAL_SF other than 0 (now 0)"
            ])
        #expect(
            try configuration("PER_PF_NUM_SF=1", "PF_TOTAL_SF=2").ignored(on: .first)
                .map(\.description) == [
                    "PER_PF_NUM_SF=1 is ignored: it needs PF_BAR2_ENABLE=0 (now True(1))",
                    "PF_TOTAL_SF=2 is ignored: it needs PF_BAR2_ENABLE=0 (now True(1))",
                ])
        #expect(
            try configuration("INTERNAL_CPU_MODEL=0").ignored(on: .second).map(\.description) == [
                "VIRTIO_BLK_EMULATION_ENABLE=1 is ignored: it needs INTERNAL_CPU_MODEL=1 "
                    + "(now SEPARATED_HOST(0))"
            ])
    }

    @Test(arguments: [
        ("PCI_SWITCH_EMULATION_NUM_PORT=32", "PCI_SWITCH_EMULATION_ENABLE=1"),
        ("NVME_EMULATION_NUM_PF=2", "NVME_EMULATION_ENABLE=1"),
        ("NVME_EMULATION_MAX_QUEUE_DEPTH=12", "NVME_EMULATION_ENABLE=1"),
        ("VIRTIO_BLK_EMULATION_NUM_VF=4", "SRIOV_EN=1"), ("NUM_OF_VFS=8", "SRIOV_EN=1"),
        ("VIRTIO_BLK_EMULATION_NUM_VF_MSIX=4", "SRIOV_EN=1"),
        ("VIRTIO_EMULATION_HOTPLUG_TRANS=1", "PCI_SWITCH_EMULATION_ENABLE=1"),
        ("EXP_ROM_NVME_UEFI_ARM_ENABLE=1", "NVME_EMULATION_ENABLE=1"),
        ("PF_NUM_PF_MSIX_VALID=1", "NUM_PF_MSIX_VALID=0"),
        ("STRICT_VF_MSIX_NUM=1", "SRIOV_EN=1"), ("DYNAMIC_VF_MSIX_TABLE=1", "SRIOV_EN=1"),
    ])
    func `counts a parameter once what it needs is set`(setting: String, need: String) throws {
        let alone = try configuration(setting).ignored(on: .first)
        #expect(alone.map { $0.unmet.map(\.description) } == [[need]])
        #expect(try configuration(setting, need).ignored(on: .first).isEmpty)
    }

    @Test func `takes the per-PF vector count when the common one is off`() throws {
        let set = try configuration(
            "NUM_PF_MSIX_VALID=0", "PF_NUM_PF_MSIX_VALID=1", "PF_NUM_PF_MSIX=228")
        #expect(set.effective(.perPFVectorCount) == 228)
        #expect(try configuration("PF_NUM_PF_MSIX=228").effective(.perPFVectorCount) == 63)
    }

    @Test func `makes the inventory that is asked for`() throws {
        let set = try configuration(
            "SRIOV_EN=1", "NVME_EMULATION_ENABLE=1", "NVME_EMULATION_NUM_PF=2",
            "NVME_EMULATION_NUM_VF=125", "NVME_EMULATION_NUM_MSIX=32",
            "VIRTIO_BLK_EMULATION_NUM_VF=3", "VIRTIO_BLK_EMULATION_NUM_VF_MSIX=5",
            "NVME_EMULATION_VENDOR_ID=0x1234")
        #expect(set.nvme.pfCount == 2 && set.nvme.vfCount == 125)
        #expect(set.nvme.pfVectorCount == 32 && set.nvme.vfVectorCount == 32)
        #expect(set.nvme.identity.vendorID == 0x1234 && set.nvme.identity.classCode == 0x10802)
        #expect(set.virtioBlk.vfCount == 3 && set.virtioBlk.vfVectorCount == 5)
        #expect(try configuration("VIRTIO_BLK_EMULATION_ENABLE=0").virtioBlk.pfCount == 0)
        #expect(try configuration("INTERNAL_CPU_MODEL=0").virtioBlk.pfCount == 0)
        #expect(try configuration("PCI_SWITCH_EMULATION_ENABLE=1").hotplugPFCount == 15)
        let ports = ["PCI_SWITCH_EMULATION_ENABLE=1", "PCI_SWITCH_EMULATION_NUM_PORT=32"]
        #expect(try configuration(ports[0], ports[1]).hotplugPFCount == 31)
    }

    @Test func `has at most 250 VFs beside an emulated switch`() throws {
        let many = ["SRIOV_EN=1", "VIRTIO_BLK_EMULATION_NUM_VF=251"]
        #expect(try configuration(many[0], many[1]).virtioBlk.vfCount == 251)
        let error = #expect(throws: FirmwareError.self) {
            try configuration(many[0], many[1], "PCI_SWITCH_EMULATION_ENABLE=1")
        }
        #expect(
            error.map { "\($0)" }
                == "251 virtio-blk VFs and 0 NVMe VFs are more than the 250 that "
                + "PCI_SWITCH_EMULATION_ENABLE=1 leaves room for; set it to 0, or lower "
                + "VIRTIO_BLK_EMULATION_NUM_VF or NVME_EMULATION_NUM_VF")
    }

    @Test func `advises on the BAR of subfunctions`() throws {
        #expect(
            try configuration("PF_SF_BAR_SIZE=9").subfunctionBARAdvice(for: .first)
                == "now PF_BAR2_ENABLE=True(1) PER_PF_NUM_SF=False(0) PF_TOTAL_SF=0 "
                + "PF_SF_BAR_SIZE=9; run: softdpu mlxconfig -d 0000:03:00.0 set PF_BAR2_ENABLE=0 "
                + "PER_PF_NUM_SF=1 PF_TOTAL_SF=236 PF_SF_BAR_SIZE=10, then a cold power cycle: "
                + "softdpu power-cycle")
    }

    @Test func `stops the process when a value was not checked`() async {
        await #expect(processExitsWith: .failure) {
            var configuration = FirmwareConfiguration()
            configuration.set(.sriovEnable, to: 2, on: .first)
        }
    }

    @Test func `checks the VFs also when a reset puts them in force`() throws {
        var set = try configuration(
            "INTERNAL_CPU_MODEL=0", "SRIOV_EN=1", "VIRTIO_BLK_EMULATION_NUM_VF=251",
            "PCI_SWITCH_EMULATION_ENABLE=1")
        let before = set
        #expect(throws: FirmwareError.self) { try set.reset([.internalCPUModel], of: .first) }
        #expect(set == before)
        try set.reset([], of: .first)
        #expect(set == FirmwareConfiguration())
    }

    @Test func `keeps the card's parameters equal on both ports`() throws {
        let set = try configuration("SRIOV_EN=1", "PF_TOTAL_SF=7")
        #expect(set[.sriovEnable, .second] == 1 && set[.pfSubfunctionCount, .second] == 0)
    }
}
