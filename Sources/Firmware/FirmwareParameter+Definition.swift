/// The table of parameters (reference: mlxconfig's own descriptions and the SNAP manuals).
///
/// Defaults are those of a card that a user of a software DPU wants to find: one static virtio-blk
/// PF works out of the box, and nothing else is on (no NVMe, no SR-IOV, no PCIe switch). The SF and
/// BAR parameters stand as on the card on which the limit of 32 queue pairs was reported, so
/// `PF_SF_BAR_SIZE` alone changes nothing.
extension FirmwareParameter {
    public var definition: FirmwareDefinition {
        switch self {
        case .nvmeEnable, .nvmePFCount, .nvmeVFCount, .nvmeVectorCount, .nvmeVFVectorCount,
            .nvmeMaxQueueDepth, .nvmeVendorID, .nvmeDeviceID, .nvmeClassCode, .nvmeRevisionID,
            .nvmeSubsystemVendorID, .nvmeSubsystemID:
            nvmeDefinition
        case .virtioBlkEnable, .virtioBlkPFCount, .virtioBlkVFCount, .virtioBlkVectorCount,
            .virtioBlkVFVectorCount, .virtioBlkVendorID, .virtioBlkDeviceID, .virtioBlkClassCode,
            .virtioBlkRevisionID, .virtioBlkSubsystemVendorID, .virtioBlkSubsystemID,
            .virtioBlkPFLayout, .virtioBlkVFLayout, .virtioHotplugTransitional:
            virtioBlkDefinition
        case .pfBAR2Enable, .perPFSubfunctions, .pfSubfunctionCount, .pfSubfunctionBARSize,
            .pfLogBARSize, .vfLogBARSize, .barPageAlignment:
            barDefinition
        default: cardDefinition
        }
    }

    private var cardDefinition: FirmwareDefinition {
        switch self {
        case .internalCPUModel:
            .init(
                .enumeration(["SEPARATED_HOST", "EMBEDDED_CPU"]), default: 1,
                "who owns the card; storage emulation needs EMBEDDED_CPU")
        case .internalCPUOffloadEngine:
            .init(
                .enumeration(["ENABLED", "DISABLED"]), needs: [.equals(.internalCPUModel, 1)],
                "ENABLED is DPU mode, DISABLED is NIC mode")
        case .pciSwitchEnable:
            .init(.boolean, "an emulated PCIe switch, which hot plug needs")
        case .pciSwitchPortCount:
            // One downstream port carries all static PFs, the others one hot-plugged PF each.
            .init(
                .integer([0...0, 2...32]), default: 16, unit: "ports",
                needs: [.equals(.pciSwitchEnable, 1)], ignored: 0,
                "downstream ports; one is taken by the static PFs")
        case .romNVMeX86, .romNVMeARM:
            .init(
                .boolean, needs: [.equals(.nvmeEnable, 1)],
                "UEFI option ROM to boot from the NVMe disk")
        case .romVirtioBlkX86, .romVirtioBlkARM:
            .init(
                .boolean, needs: [.equals(.virtioBlkEnable, 1)],
                "UEFI option ROM to boot from the virtio-blk disk")
        default: virtualFunctionDefinition
        }
    }

    private var virtualFunctionDefinition: FirmwareDefinition {
        let sriov: FirmwareDefinition.Requirement = .equals(.sriovEnable, 1)
        return switch self {
        case .sriovEnable: .init(.boolean, "SR-IOV of the static PFs")
        case .networkVFCount:
            .init(
                .integer([0...127]), unit: "VFs", needs: [sriov], ignored: 0,
                "network VFs of each PF")
        case .pfVectorCountIsValid: .init(.boolean, default: 1, "whether NUM_PF_MSIX counts")
        case .pfVectorCount:
            .init(
                .integer([0...1023]), default: 63, unit: "vectors",
                needs: [.equals(.pfVectorCountIsValid, 1)], "vectors and event queues of a PF")
        case .vfVectorCount:
            .init(
                .integer([0...1023]), default: 11, unit: "vectors", needs: [sriov],
                "vectors and event queues of a network VF")
        case .perPFVectorCountIsValid:
            .init(
                .boolean, scope: .port, needs: [.equals(.pfVectorCountIsValid, 0)],
                "whether PF_NUM_PF_MSIX counts")
        case .perPFVectorCount:
            .init(
                .integer([0...4095]), default: 63, unit: "vectors", scope: .port,
                needs: [
                    .equals(.perPFVectorCountIsValid, 1), .equals(.pfVectorCountIsValid, 0),
                ], "vectors and event queues of this PF")
        case .vfVectorCountIsStrict:
            .init(.boolean, needs: [sriov], "1: NUM_VF_MSIX is exact; 0: rounded by the firmware")
        default:
            .init(.boolean, needs: [sriov], "the PF may move vectors while a VF is down")
        }
    }

    private var nvmeDefinition: FirmwareDefinition {
        let enabled: FirmwareDefinition.Requirement = .equals(.nvmeEnable, 1)
        return switch self {
        case .nvmeEnable:
            .init(.boolean, needs: [.equals(.internalCPUModel, 1)], "static NVMe functions")
        case .nvmePFCount:
            // Documented as 0 to 4; the field has 8 bits, and software has no reason for 4.
            .init(
                .integer([0...64]), default: 1, unit: "PFs", needs: [enabled], ignored: 0,
                "static NVMe PFs; 0 is legal with hot plug only")
        case .nvmeVFCount:
            .init(
                .integer([0...256]), unit: "VFs",
                needs: [enabled, .equals(.sriovEnable, 1)], ignored: 0, "VFs of each NVMe PF")
        case .nvmeVectorCount:
            // Documented as 0 to 63; the PCI limit of one function is 2048.
            .init(
                .integer([0...2048]), unit: "vectors", needs: [enabled], ignored: 0,
                zero: .value(64), "MSI-X vectors of a PF, and of a VF unless that has its own")
        case .nvmeVFVectorCount:
            .init(
                .integer([0...4095]), unit: "vectors",
                needs: [enabled, .equals(.sriovEnable, 1)], ignored: 0,
                zero: .same(.nvmeVectorCount),
                "MSI-X vectors of a VF; sizes the pool of dynamic MSI-X")
        case .nvmeMaxQueueDepth:
            .init(
                .logarithm([0...12]), unit: "entries", needs: [enabled], zero: .value(10),
                "deepest queue (CAP.MQES)")
        default: identityDefinition(enabled)
        }
    }

    private var virtioBlkDefinition: FirmwareDefinition {
        let enabled: FirmwareDefinition.Requirement = .equals(.virtioBlkEnable, 1)
        let layouts = FirmwareDefinition.Kind.enumeration(["VIRTIO_1_X", "TRANSITIONAL"])
        return switch self {
        case .virtioBlkEnable:
            .init(
                .boolean, default: 1, needs: [.equals(.internalCPUModel, 1)], ignored: 0,
                "static virtio-blk functions")
        case .virtioBlkPFCount:
            // Documented as 0 to 4; the field has 8 bits, and software has no reason for 4.
            .init(
                .integer([0...64]), default: 1, unit: "PFs", needs: [enabled], ignored: 0,
                "static virtio-blk PFs; 0 is legal with hot plug only")
        case .virtioBlkVFCount:
            .init(
                .integer([0...2000]), unit: "VFs",
                needs: [enabled, .equals(.sriovEnable, 1)], ignored: 0,
                "VFs of each virtio-blk PF")
        case .virtioBlkVectorCount:
            .init(
                .integer([0...2048]), unit: "vectors", needs: [enabled], ignored: 0,
                zero: .value(65), "MSI-X vectors of a PF, and of a VF unless that has its own")
        case .virtioBlkVFVectorCount:
            .init(
                .integer([0...4095]), unit: "vectors",
                needs: [enabled, .equals(.sriovEnable, 1)], ignored: 0,
                zero: .same(.virtioBlkVectorCount),
                "MSI-X vectors of a VF; sizes the pool of dynamic MSI-X")
        case .virtioBlkPFLayout:
            .init(layouts, needs: [enabled], "PCI layout of the PFs")
        case .virtioBlkVFLayout:
            .init(layouts, needs: [enabled, .equals(.sriovEnable, 1)], "PCI layout of the VFs")
        case .virtioHotplugTransitional:
            .init(
                .boolean, needs: [.equals(.pciSwitchEnable, 1)],
                "hot-plugged functions are transitional")
        default: identityDefinition(enabled)
        }
    }

    /// PCI identities are those of the real cards: Mellanox NVMe, and virtio-blk 1.x.
    private func identityDefinition(
        _ enabled: FirmwareDefinition.Requirement
    ) -> FirmwareDefinition {
        let (last, defaultValue, meaning): (UInt64, UInt64, String) =
            switch self {
            case .nvmeVendorID: (0xFFFF, 0x15B3, "PCI vendor")
            case .nvmeDeviceID: (0xFFFF, 0x6001, "PCI device")
            case .nvmeClassCode: (0xFF_FFFF, 0x01_0802, "PCI class")
            case .virtioBlkVendorID: (0xFFFF, 0x1AF4, "PCI vendor")
            case .virtioBlkDeviceID: (0xFFFF, 0x1042, "PCI device")
            case .virtioBlkClassCode: (0xFF_FFFF, 0x01_0000, "PCI class")
            case .virtioBlkRevisionID: (0xFF, 1, "PCI revision")
            case .virtioBlkSubsystemVendorID: (0xFFFF, 0x1AF4, "PCI subsystem vendor")
            case .virtioBlkSubsystemID: (0xFFFF, 0x1042, "PCI subsystem")
            case .nvmeRevisionID: (0xFF, 0, "PCI revision")
            case .nvmeSubsystemVendorID: (0xFFFF, 0, "PCI subsystem vendor")
            default: (0xFFFF, 0, "PCI subsystem")
            }
        return .init(.integer([0...last]), default: defaultValue, needs: [enabled], meaning)
    }

    private var barDefinition: FirmwareDefinition {
        switch self {
        case .pfBAR2Enable:
            .init(
                .boolean, default: 1, scope: .port,
                "1: a BAR2 of fixed size on external host PFs; 0: as PER_PF_NUM_SF says")
        case .perPFSubfunctions:
            .init(
                .boolean, scope: .port, needs: [.equals(.pfBAR2Enable, 0)],
                "1: PF_TOTAL_SF and PF_SF_BAR_SIZE hold for this PF")
        case .pfSubfunctionCount:
            .init(
                .integer([0...65535]), unit: "SFs", scope: .port,
                needs: [.equals(.perPFSubfunctions, 1), .equals(.pfBAR2Enable, 0)],
                "SFs of this PF")
        case .pfSubfunctionBARSize:
            // The kernel counts in 4 KiB, so 2 is the least; 8 is the device's choice (assumed).
            .init(
                .logarithm([0...0, 2...16]), unit: "KiB", scope: .port,
                needs: [
                    .equals(.perPFSubfunctions, 1), .equals(.pfBAR2Enable, 0),
                    .isNotZero(.pfSubfunctionCount),
                ], zero: .value(8), "BAR of one SF")
        case .pfLogBARSize:
            .init(
                .logarithm([0...10]), default: 5, unit: "MiB", "register BAR of a PF, not of SFs")
        case .vfLogBARSize:
            .init(
                .logarithm([0...10]), default: 1, unit: "MiB", "register BAR of a VF, not of SFs")
        default:
            .init(
                .enumeration(["DEVICE_DEFAULT", "ALIGN_4KB", "ALIGN_64KB"]),
                "alignment of the BARs")
        }
    }
}
