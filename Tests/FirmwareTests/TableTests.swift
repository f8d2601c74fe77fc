import Testing

@testable import Firmware

@Suite struct `Firmware table` {
    private func state(_ assignments: String...) throws -> FirmwareState {
        var state = FirmwareState()
        try state.next.apply(FirmwareAssignment.list(assignments), to: .first)
        return state
    }

    private func table(_ state: FirmwareState) -> FirmwareTable {
        FirmwareTable(state, port: .first, device: "0000:03:00.0")
    }

    private func trimmed(_ lines: [String]) -> [String] {
        lines.map { line in
            var line = Substring(line)
            while line.last == " " { line.removeLast() }
            return String(line)
        }
    }

    private let opening = [
        "", "Device #1:", "----------", "", "Device type:        BlueField3",
        "Name:               SOFTSNAP-DPU",
        "Description:        SoftSNAP software DPU; two ports; storage emulation",
        "Device:             0000:03:00.0", "",
    ]

    @Test func `shows Next Boot`() throws {
        let lines = table(try state("SRIOV_EN=1", "NUM_OF_VFS=8")).query(
            [.sriovEnable, .networkVFCount, .internalCPUModel], isExtended: false)
        #expect(
            trimmed(lines) == opening + [
                "Configurations:                                          Next Boot",
                "        SRIOV_EN                                    True(1)",
                "        NUM_OF_VFS                                  8",
                "        INTERNAL_CPU_MODEL                          EMBEDDED_CPU(1)",
                "needs a cold power cycle: SRIOV_EN, NUM_OF_VFS",
            ])
    }

    @Test func `shows Default, Current and Next Boot, and marks what differs`() throws {
        let set = try state("PF_SF_BAR_SIZE=10")
        let lines = table(set).query([.pfSubfunctionBARSize, .pfBAR2Enable], isExtended: true)
        let pad = String(repeating: " ", count: 36)
        #expect(
            trimmed(lines) == opening + [
                "Configurations:\(pad)Default                Current                Next Boot",
                "*       PF_SF_BAR_SIZE                              0"
                    + "                      0                      10",
                "        PF_BAR2_ENABLE                              True(1)"
                    + "                True(1)                True(1)",
                "The '*' shows parameters with next value different from default/current value.",
                "needs a cold power cycle: PF_SF_BAR_SIZE",
                "PF_SF_BAR_SIZE=10 is ignored: it needs PER_PF_NUM_SF=1 (now False(0)) and "
                    + "PF_BAR2_ENABLE=0 (now True(1)) and PF_TOTAL_SF other than 0 (now 0)",
            ])
        var booted = set
        booted.current = booted.next
        let after = table(booted).query([.pfSubfunctionBARSize], isExtended: true)
        #expect(after.contains { $0.hasPrefix("*       PF_SF_BAR_SIZE") })
        #expect(!after.contains { $0.hasPrefix("needs") })
    }

    @Test func `has a line for every parameter and no notes by default`() throws {
        for isExtended in [false, true] {
            let lines = table(FirmwareState()).query(isExtended: isExtended)
            #expect(lines.count == opening.count + 1 + FirmwareParameter.allCases.count)
            let names = lines.dropFirst(opening.count + 1).map {
                $0.split(separator: " ").first.map(String.init)
            }
            #expect(names == FirmwareParameter.allCases.map(\.name))
        }
    }

    @Test func `compares Next Boot with what is to be set`() throws {
        let assignments = try FirmwareAssignment.list(["PF_TOTAL_SF=236", "SRIOV_EN=True"])
        let lines = table(try state("PF_TOTAL_SF=2")).comparison(assignments)
        #expect(
            trimmed(lines) == opening + [
                "Configurations:                                          Next Boot       New",
                "        PF_TOTAL_SF                                 2                   236",
                "        SRIOV_EN                                    False(0)            True(1)",
            ])
    }
}
