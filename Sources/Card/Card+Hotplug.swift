public import Hardware
internal import Platform

/// Functions that come and go at run time.
extension Card {
    /// Hot-plug PFs that there can be: one switch port serves all static PFs.
    public var hotplugLimit: Int { max(0, min(configuration.switchPortCount, 32) - 1) }

    /// A new hot-plug PF, powered off or, if so requested, shown to the host at once.
    public mutating func createFunction(
        _ request: FunctionRequest
    ) throws(HardwareError) -> FunctionIdentity {
        guard hotplugLimit > 0 else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "the card has no emulated PCIe switch; set PCI_SWITCH_EMULATION_ENABLE=1 and "
                    + "PCI_SWITCH_EMULATION_NUM_PORT=32, then power-cycle it")
        }
        let taken = Set(functions.compactMap(\.slot))
        guard let slot = (1...hotplugLimit).first(where: { !taken.contains($0) }) else {
            throw HardwareError(
                ErrorNumber.noSpace,
                "all \(hotplugLimit) hot-plug ports are taken (PCI_SWITCH_EMULATION_NUM_PORT is "
                    + "\(configuration.switchPortCount)); destroy a hot-plug function first")
        }
        let family = configuration.family(request.kind)
        let vectors = request.vectorCount ?? family.pfVectorCount
        guard (Self.vectorMinimum...Self.vectorMaximum).contains(vectors) else {
            throw HardwareError(
                ErrorNumber.range,
                "num_msix is \(vectors); a function has \(Self.vectorMinimum) to "
                    + "\(Self.vectorMaximum) vectors")
        }
        let function = hotplugFunction(
            request.kind, slot: slot, pfIndex: freePFIndex(request.kind), vectorCount: vectors,
            PCIIdentity(request, else: family.pci))
        insert(function)
        if request.isPlugged, let index = functions.firstIndex(where: { $0.slot == slot }) {
            functions[index].hotplug = .plugging
            if isHostOn { settle(index) }
        }
        return try self.function(function.vuid).identity
    }

    /// A hot-plug PF without power.
    func hotplugFunction(
        _ kind: FunctionIdentity.Kind, slot: Int, pfIndex: Int, vectorCount: Int,
        _ pci: PCIIdentity
    ) -> CardFunction {
        let family = configuration.family(kind)
        var function = CardFunction(
            FunctionIdentity(
                kind: kind, vuid: "\(configuration.serial)\(kind.rawValue)S\(slot)D0F0",
                vhcaID: configuration.staticFunctionCount + slot, pfIndex: pfIndex, vfIndex: nil,
                bdf: BDF.none, isHotplugged: true, vectorCount: vectorCount,
                queueLimit: family.queueLimit,
                queueSizeLimit: family.queueSizeLimit), pci: pci)
        function.slot = slot
        function.hotplug = .powerOff
        return function
    }

    private func freePFIndex(_ kind: FunctionIdentity.Kind) -> Int {
        let taken = Set(
            functions.filter { $0.identity.kind == kind && !$0.isVF }.map(\.identity.pfIndex))
        return (0...taken.count).first { !taken.contains($0) } ?? taken.count
    }

    mutating func insert(_ function: CardFunction) {
        let place =
            functions.firstIndex { ($0.slot ?? 0) > (function.slot ?? 0) } ?? functions.count
        functions.insert(function, at: place)
        reindex()
    }

    /// Removes a hot-plug PF that has no controller. `force`: also one that the host still has.
    public mutating func destroyFunction(_ vuid: String, force: Bool) throws(HardwareError) {
        let index = try hotplugIndex(vuid)
        let function = functions[index]
        if let controller = function.controller {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is driven by controller \"\(controller)\"; destroy that first")
        }
        if !force, function.hotplug != .powerOff {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is \(function.hotplug?.rawValue ?? ""), the host has it; "
                    + "hotunplug it first")
        }
        functions.remove(at: index)
        reindex()
    }

    /// Shows a hot-plug PF to the host; a host with power takes it at once. Nothing to do for one
    /// that is plugged.
    public mutating func plug(_ vuid: String) throws(HardwareError) {
        let index = try hotplugIndex(vuid)
        switch functions[index].hotplug {
        case .powerOff: break
        case .plugging, .powerOn: return
        case .unplugging, nil:
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is HOTUNPLUG_PREPARE: its host has yet to let go of it")
        }
        guard functions[index].controller != nil else {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) has no controller, and a host that finds it so misbehaves; "
                    + "create one first")
        }
        functions[index].hotplug = .plugging
        if isHostOn { settle(index) }
    }

    /// Asks the host to let go of a hot-plug PF. The built-in host does at once; a connected
    /// virtual machine when it disconnects (`hostLeft`). Nothing to do for one without power.
    public mutating func unplug(_ vuid: String) throws(HardwareError) {
        let index = try hotplugIndex(vuid)
        switch functions[index].hotplug {
        case .plugging, .powerOn:
            functions[index].hotplug = .unplugging
            if !functions[index].isHostConnected { settle(index) }
        case .unplugging, .powerOff, nil: return
        }
    }

    /// The virtual machine that was connected to the function has gone.
    public mutating func hostLeft(_ vuid: String) {
        guard let index = try? index(vuid) else { return }
        functions[index].isHostConnected = false
        functions[index].isDriverBound = false
        if functions[index].hotplug == .unplugging { settle(index) }
    }

    /// The host has seen what was asked of it.
    mutating func settle(_ index: Int) {
        switch functions[index].hotplug {
        case .plugging:
            functions[index].hotplug = .powerOn
            functions[index].identity.bdf = BDF.hotplug(slot: functions[index].slot ?? 0)
            functions[index].isDriverBound = autoprobes && functions[index].controller != nil
        case .unplugging:
            functions[index].hotplug = .powerOff
            functions[index].identity.bdf = BDF.none
            functions[index].isDriverBound = false
        case .powerOff, .powerOn, nil: break
        }
    }

    private func hotplugIndex(_ vuid: String) throws(HardwareError) -> Int {
        let index = try index(vuid)
        guard functions[index].hotplug != nil else {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) is static: the host always has it; only functions made by "
                    + "function_create are plugged, unplugged and destroyed")
        }
        return index
    }
}
