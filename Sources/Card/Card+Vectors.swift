public import Hardware
internal import Platform

/// The ledger of MSI-X vectors.
extension Card {
    /// Fewest vectors that a function can work with: one for configuration changes, one for a
    /// queue.
    static let vectorMinimum = 2
    /// Most vectors of one function: the size of an MSI-X table (PCI Express Base 6.0 §7.7.2).
    static let vectorMaximum = 2048

    /// Vectors of a PF's VFs, in the pool and assigned: constant.
    public func vectorCapacity(of pf: CardFunction) -> Int {
        pf.vfs.count * configuration.family(pf.identity.kind).vfVectorCount
    }

    func freeVectors(of function: CardFunction) -> Int {
        function.parent.map { functions[$0].freeVectorCount } ?? function.freeVectorCount
    }

    /// What `setVectors` would accept for the function.
    func vectorRange(_ function: CardFunction) -> ClosedRange<Int> {
        let now = function.identity.vectorCount
        if function.isVF {
            let most = min(now + freeVectors(of: function), Self.vectorMaximum)
            return Self.vectorMinimum...max(Self.vectorMinimum, most)
        }
        if function.hotplug == .powerOff { return Self.vectorMinimum...Self.vectorMaximum }
        return now...now
    }

    func checkVectors(_ count: Int, for function: CardFunction) throws(HardwareError) {
        let vuid = function.vuid
        guard function.isVF || function.hotplug != nil else {
            throw HardwareError(
                ErrorNumber.notSupported,
                "function \(vuid) is a static PF with \(function.identity.vectorCount) vectors; "
                    + "they are part of the firmware configuration")
        }
        guard (Self.vectorMinimum...Self.vectorMaximum).contains(count) else {
            throw HardwareError(
                ErrorNumber.range,
                "\(count) vectors for function \(vuid): \(Self.vectorMinimum) to "
                    + "\(Self.vectorMaximum) are possible")
        }
        if function.isHostConnected || function.isDriverBound {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) has a driver bound to it; unbind that before its vectors change")
        }
        if let hotplug = function.hotplug, hotplug != .powerOff {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is \(hotplug.rawValue); its vectors change while it is POWER_OFF")
        }
        let available = function.identity.vectorCount + freeVectors(of: function)
        if function.isVF && count > available {
            throw HardwareError(
                ErrorNumber.noSpace,
                "\(count) vectors for function \(vuid): \(function.identity.vectorCount) are its "
                    + "own and \(freeVectors(of: function)) are free in the pool of its PF; "
                    + "reclaim or release others first")
        }
    }

    /// Gives a VF, or a hot-plug PF without power, another number of vectors.
    public mutating func setVectors(_ vuid: String, count: Int) throws(HardwareError) {
        let index = try index(vuid)
        if functions[index].identity.vectorCount == count { return }
        try checkVectors(count, for: functions[index])
        assign(count, to: index)
    }

    private mutating func assign(_ count: Int, to index: Int) {
        if let parent = functions[index].parent {
            functions[parent].freeVectorCount += functions[index].identity.vectorCount - count
        }
        functions[index].identity.vectorCount = count
    }

    /// Takes back what `setVectors` has done.
    public mutating func restoreVectors(_ vuid: String, count: Int) {
        guard let index = try? index(vuid) else { return }
        assign(count, to: index)
    }

    /// Gives a VF's vectors back to its PF's pool; nothing for a PF.
    public mutating func releaseVectors(_ vuid: String) {
        guard let index = try? index(vuid), functions[index].isVF else { return }
        assign(0, to: index)
    }

    /// Moves all vectors of a PF's VFs into its pool.
    public mutating func reclaimVectors(_ vuid: String) throws(HardwareError) {
        let index = try index(vuid)
        let pf = functions[index]
        if pf.isVF {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) is a VF; vectors are reclaimed by the controller of its PF")
        }
        if pf.vfs.isEmpty {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) has no VFs to reclaim vectors from"
                    + (pf.hotplug == nil ? "" : "; hot-plug PFs have no SR-IOV"))
        }
        if pf.enabledVFCount > 0 {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) has \(pf.enabledVFCount) VFs enabled on the host; set "
                    + "sriov_numvfs to 0 first")
        }
        if let open = functions[pf.vfs].first(where: { $0.controller != nil }) {
            throw HardwareError(
                ErrorNumber.busy,
                "VF \(open.vuid) has controller \"\(open.controller ?? "")\"; destroy the "
                    + "controllers of the VFs first")
        }
        for vf in pf.vfs { assign(0, to: vf) }
    }
}
