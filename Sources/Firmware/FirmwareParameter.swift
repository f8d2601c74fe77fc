/// One setting of the card's firmware, by the name that mlxconfig gives it.
///
/// The order is that of `query`. What a parameter may hold and what it depends on is in its
/// `definition`. The second family for functions behind another emulation manager
/// (`*_EMU_MNG_*`) is not modelled: the card has one emulation manager.
public enum FirmwareParameter: String, CaseIterable, Sendable {
    case internalCPUModel = "INTERNAL_CPU_MODEL"
    case internalCPUOffloadEngine = "INTERNAL_CPU_OFFLOAD_ENGINE"

    case pciSwitchEnable = "PCI_SWITCH_EMULATION_ENABLE"
    case pciSwitchPortCount = "PCI_SWITCH_EMULATION_NUM_PORT"

    case nvmeEnable = "NVME_EMULATION_ENABLE"
    case nvmePFCount = "NVME_EMULATION_NUM_PF"
    case nvmeVFCount = "NVME_EMULATION_NUM_VF"
    case nvmeVectorCount = "NVME_EMULATION_NUM_MSIX"
    case nvmeVFVectorCount = "NVME_EMULATION_NUM_VF_MSIX"
    case nvmeMaxQueueDepth = "NVME_EMULATION_MAX_QUEUE_DEPTH"
    case nvmeVendorID = "NVME_EMULATION_VENDOR_ID"
    case nvmeDeviceID = "NVME_EMULATION_DEVICE_ID"
    case nvmeClassCode = "NVME_EMULATION_CLASS_CODE"
    case nvmeRevisionID = "NVME_EMULATION_REVISION_ID"
    case nvmeSubsystemVendorID = "NVME_EMULATION_SUBSYSTEM_VENDOR_ID"
    case nvmeSubsystemID = "NVME_EMULATION_SUBSYSTEM_ID"

    case virtioBlkEnable = "VIRTIO_BLK_EMULATION_ENABLE"
    case virtioBlkPFCount = "VIRTIO_BLK_EMULATION_NUM_PF"
    case virtioBlkVFCount = "VIRTIO_BLK_EMULATION_NUM_VF"
    case virtioBlkVectorCount = "VIRTIO_BLK_EMULATION_NUM_MSIX"
    case virtioBlkVFVectorCount = "VIRTIO_BLK_EMULATION_NUM_VF_MSIX"
    case virtioBlkVendorID = "VIRTIO_BLK_EMULATION_VENDOR_ID"
    case virtioBlkDeviceID = "VIRTIO_BLK_EMULATION_DEVICE_ID"
    case virtioBlkClassCode = "VIRTIO_BLK_EMULATION_CLASS_CODE"
    case virtioBlkRevisionID = "VIRTIO_BLK_EMULATION_REVISION_ID"
    case virtioBlkSubsystemVendorID = "VIRTIO_BLK_EMU_SUBSYSTEM_VENDOR_ID"
    case virtioBlkSubsystemID = "VIRTIO_BLK_EMULATION_SUBSYSTEM_ID"
    case virtioBlkPFLayout = "VIRTIO_BLK_EMULATION_PF_PCI_LAYOUT"
    case virtioBlkVFLayout = "VIRTIO_BLK_EMULATION_VF_PCI_LAYOUT"
    case virtioHotplugTransitional = "VIRTIO_EMULATION_HOTPLUG_TRANS"

    case romNVMeX86 = "EXP_ROM_NVME_UEFI_x86_ENABLE"
    case romNVMeARM = "EXP_ROM_NVME_UEFI_ARM_ENABLE"
    case romVirtioBlkX86 = "EXP_ROM_VIRTIO_BLK_UEFI_x86_ENABLE"
    case romVirtioBlkARM = "EXP_ROM_VIRTIO_BLK_UEFI_ARM_ENABLE"

    case sriovEnable = "SRIOV_EN"
    case networkVFCount = "NUM_OF_VFS"
    case pfVectorCountIsValid = "NUM_PF_MSIX_VALID"
    case pfVectorCount = "NUM_PF_MSIX"
    case vfVectorCount = "NUM_VF_MSIX"
    case perPFVectorCountIsValid = "PF_NUM_PF_MSIX_VALID"
    case perPFVectorCount = "PF_NUM_PF_MSIX"
    case vfVectorCountIsStrict = "STRICT_VF_MSIX_NUM"
    case dynamicVFVectorTable = "DYNAMIC_VF_MSIX_TABLE"

    case pfBAR2Enable = "PF_BAR2_ENABLE"
    case perPFSubfunctions = "PER_PF_NUM_SF"
    case pfSubfunctionCount = "PF_TOTAL_SF"
    case pfSubfunctionBARSize = "PF_SF_BAR_SIZE"
    case pfLogBARSize = "PF_LOG_BAR_SIZE"
    case vfLogBARSize = "VF_LOG_BAR_SIZE"
    case barPageAlignment = "BAR_PAGE_ALIGNMENT"

    public var name: String { rawValue }

    /// The parameter called `name`, in capitals or not.
    public init(named name: String) throws(FirmwareError) {
        let folded = name.uppercased()
        guard let found = Self.byFoldedName[folded] else {
            if folded.contains("_EMU_MNG_") { throw .unsupportedKey(name) }
            throw .unknownKey(name, nearest: Self.nearest(to: folded).name)
        }
        self = found
    }

    private static let byFoldedName = Dictionary(
        uniqueKeysWithValues: allCases.map { ($0.name.uppercased(), $0) })

    private static func nearest(to name: String) -> FirmwareParameter {
        var best = (parameter: internalCPUModel, distance: Int.max)
        for parameter in allCases {
            let distance = editDistance(
                Array(name.utf8.prefix(64)), Array(parameter.name.uppercased().utf8))
            if distance < best.distance { best = (parameter, distance) }
        }
        return best.parameter
    }

    /// Insertions, removals and replacements that make `a` into `b` (Levenshtein).
    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, left) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, right) in b.enumerated() {
                let replaced = diagonal + (left == right ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(replaced, min(row[j], row[j + 1]) + 1)
            }
        }
        return row[b.count]
    }
}

extension FirmwareParameter: CustomStringConvertible {
    public var description: String { name }
}
