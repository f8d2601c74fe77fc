public import Hardware
internal import Platform

/// What the host does to the card: an operator through `softdpu host`, where no virtual machine
/// is connected to the function.
extension Card {
    /// Gives every visible function its address, as the host's firmware does at power-on.
    mutating func enumerate() {
        guard isHostOn else { return }
        var pfNumber = 0
        var vfNumber = 0
        for index in functions.indices {
            if functions[index].hotplug != nil {
                settle(index)
                if functions[index].hotplug == .powerOn {
                    functions[index].identity.bdf = BDF.hotplug(slot: functions[index].slot ?? 0)
                }
            } else if functions[index].isVF {
                if functions[index].isEnabled {
                    functions[index].identity.bdf = BDF.vf(vfNumber)
                } else {
                    functions[index].identity.bdf = BDF.none
                }
                vfNumber += 1
            } else {
                functions[index].identity.bdf = BDF.staticPF(pfNumber)
                pfNumber += 1
            }
            if autoprobes, functions[index].isVisible, functions[index].controller != nil {
                functions[index].isDriverBound = true
            }
        }
    }

    /// EBUSY: a virtual machine is connected, so it is the function's host and nobody else.
    func requireOwnHost(_ function: CardFunction, _ action: String) throws(HardwareError) {
        if function.isHostConnected {
            throw HardwareError(
                ErrorNumber.busy,
                "\(action): a virtual machine is connected to function \(function.vuid) and is "
                    + "its host; act there, or disconnect it first")
        }
    }

    private func requirePower(_ action: String) throws(HardwareError) {
        if !isHostOn {
            throw HardwareError(
                ErrorNumber.invalid, "\(action): the host has no power; `softdpu host power on`")
        }
    }

    // --- SR-IOV ---

    /// Enables the first `count` VFs of a PF, as a write to its sriov_numvfs does; 0 disables them.
    /// - Returns: what an operator should know.
    public mutating func setVFCount(
        _ count: Int, of vuid: String, autoprobe: Bool
    ) throws(HardwareError) -> [String] {
        let index = try index(vuid)
        let pf = functions[index]
        try checkSRIOV(count, of: pf)
        let warnings = count == 0 ? [] : sriovWarnings(count, of: pf, autoprobe: autoprobe)
        functions[index].enabledVFCount = count
        for (vfIndex, vf) in pf.vfs.enumerated() {
            functions[vf].isEnabled = vfIndex < count
            functions[vf].identity.bdf = vfIndex < count ? BDF.vf(vfNumber(vf)) : BDF.none
            functions[vf].isDriverBound =
                vfIndex < count && autoprobe && functions[vf].controller != nil
        }
        return warnings
    }

    private func vfNumber(_ index: Int) -> Int { functions[..<index].count { $0.isVF } }

    private func checkSRIOV(_ count: Int, of pf: CardFunction) throws(HardwareError) {
        try requirePower("sriov")
        if pf.isVF || pf.hotplug != nil {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(pf.vuid) is a \(pf.isVF ? "VF" : "hot-plug PF"): only static PFs have "
                    + "SR-IOV")
        }
        try requireOwnHost(pf, "sriov")
        guard configuration.hasSRIOV else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "SRIOV_EN is 0 in the firmware configuration; set it and power-cycle the card")
        }
        guard count >= 0, count <= pf.vfs.count else {
            throw HardwareError(
                ErrorNumber.range,
                "sriov_numvfs \(count): function \(pf.vuid) has sriov_totalvfs \(pf.vfs.count); "
                    + "\(pf.identity.kind.firmwarePrefix)_EMULATION_NUM_VF sets it, at a cold boot")
        }
        if count > 0, pf.enabledVFCount > 0, count != pf.enabledVFCount {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(pf.vuid) has \(pf.enabledVFCount) VFs enabled; set sriov_numvfs to 0 "
                    + "before another number")
        }
        try checkSRIOVUse(count, of: pf)
    }

    private func checkSRIOVUse(_ count: Int, of pf: CardFunction) throws(HardwareError) {
        if count > 0 && pf.controller == nil {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(pf.vuid) has no controller; open it and all controllers of its VFs "
                    + "before the VFs are enabled")
        }
        if count == 0, let used = functions[pf.vfs].first(where: \.isHostConnected) {
            try requireOwnHost(used, "sriov")
        }
        let others = functions.reduce(0) { $0 + $1.enabledVFCount } - pf.enabledVFCount
        let limit = CardConfiguration.switchedVFLimit
        if configuration.switchPortCount > 0, others + count > limit {
            throw HardwareError(
                ErrorNumber.noSpace,
                "\(others + count) VFs: a card with the PCIe switch on has \(limit) in all; set "
                    + "PCI_SWITCH_EMULATION_ENABLE=0 and power-cycle it, or enable fewer")
        }
    }

    private func sriovWarnings(
        _ count: Int, of pf: CardFunction, autoprobe: Bool
    ) -> [String] {
        var warnings: [String] = []
        let bare = functions[pf.vfs].prefix(count).filter { $0.controller == nil }
        if let first = bare.first {
            warnings.append(
                "\(bare.count) VFs have no controller (the first is \(first.vuid)): a driver that "
                    + "probes one of them waits for ever; create their controllers first")
        }
        if count > 100 && autoprobe {
            warnings.append(
                "\(count) VFs with sriov_drivers_autoprobe=1: more than 100 may leave disks out or "
                    + "hang the host; set it to 0 and bind them one by one")
        }
        if count > 127 {
            warnings.append(
                "\(count) VFs: more than 127 want pci=assign-busses on the host's command line, "
                    + "or it may say \"unknown header type 7f, ignoring device\"")
        }
        return warnings
    }

    // --- drivers, resets, power ---

    /// Binds the host's driver to a function.
    public mutating func bindDriver(_ vuid: String) throws(HardwareError) {
        let index = try index(vuid)
        let function = functions[index]
        try requireOwnHost(function, "driver bind")
        try requirePower("driver bind")
        guard function.isVisible else {
            throw HardwareError(
                ErrorNumber.noDevice,
                "function \(vuid) is not visible to the host; "
                    + (function.isVF ? "enable it with sriov" : "hotplug it") + " first")
        }
        guard function.controller != nil else {
            throw HardwareError(
                ErrorNumber.again,
                "function \(vuid) has no controller: its driver would wait for ever; create one")
        }
        if function.isDriverBound {
            throw HardwareError(ErrorNumber.busy, "function \(vuid) has a driver bound already")
        }
        functions[index].isDriverBound = true
    }

    public mutating func unbindDriver(_ vuid: String) throws(HardwareError) {
        let index = try index(vuid)
        try requireOwnHost(functions[index], "driver unbind")
        guard functions[index].isDriverBound else {
            throw HardwareError(ErrorNumber.noDevice, "function \(vuid) has no driver bound")
        }
        functions[index].isDriverBound = false
    }

    /// Whether the built-in host may reset the function.
    public func checkReset(_ vuid: String) throws(HardwareError) {
        let function = try function(vuid)
        try requireOwnHost(function, "flr")
        try requirePower("flr")
        guard function.isVisible else {
            throw HardwareError(
                ErrorNumber.noDevice, "function \(vuid) is not visible to the host")
        }
    }

    /// Takes the host's power: SR-IOV ends, addresses and drivers are gone. What was plugged stays
    /// in its slot. The caller has ended the access of connected virtual machines.
    public mutating func powerOffHost() throws(HardwareError) {
        guard isHostOn else {
            throw HardwareError(ErrorNumber.invalid, "the host has no power already")
        }
        for index in functions.indices {
            functions[index].isHostConnected = false
            functions[index].isDriverBound = false
            functions[index].enabledVFCount = 0
            if functions[index].isVF { functions[index].isEnabled = false }
            if functions[index].hotplug == .unplugging { settle(index) }
            functions[index].identity.bdf = BDF.none
        }
        isHostOn = false
    }

    public mutating func powerOnHost() throws(HardwareError) {
        if let used = functions.first(where: \.isHostConnected) {
            try requireOwnHost(used, "power on")
        }
        guard !isHostOn else {
            throw HardwareError(ErrorNumber.invalid, "the host has power already")
        }
        isHostOn = true
        enumerate()
    }
}

extension FunctionIdentity.Kind {
    /// How the family's firmware parameters begin.
    public var firmwarePrefix: String {
        switch self {
        case .virtioBlk: "VIRTIO_BLK"
        case .nvme: "NVME"
        }
    }
}
