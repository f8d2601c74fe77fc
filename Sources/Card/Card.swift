public import Hardware
internal import Platform

/// A card: its functions, the vectors they have, and what the host makes of them.
///
/// A pure value: every operation either does all of what it says or throws and changes nothing.
/// Vectors are counted here and nowhere else (design, "Ledger rule"): for each PF, its pool and
/// what its VFs have add up to the same number for ever.
public struct Card: Sendable {
    public let configuration: CardConfiguration
    /// Static PFs, each followed by its VFs, then hot-plug PFs in the order of their slots.
    public internal(set) var functions: [CardFunction] = []
    /// Whether the host that the card sits in has power.
    public internal(set) var isHostOn = true
    /// Whether the host binds a driver to every function that it finds (sriov_drivers_autoprobe).
    public internal(set) var autoprobes = true
    private var indexes: [String: Int] = [:]

    /// A card after a cold boot: vectors spread evenly, no hot-plug functions, the host powered on.
    public init(_ configuration: CardConfiguration) {
        self.configuration = configuration
        addStaticFunctions()
        reindex()
        enumerate()
    }

    private mutating func addStaticFunctions() {
        var nextVF = configuration.families.reduce(1) { $0 + $1.family.pfCount }
        var nextPF = 1
        for (kind, family) in configuration.families {
            for index in 0..<family.pfCount {
                var pf = CardFunction(
                    FunctionIdentity(
                        kind: kind,
                        vuid: "\(configuration.serial)\(kind.rawValue)S0D\(index / 8)F\(index % 8)",
                        vhcaID: nextPF, pfIndex: index, vfIndex: nil, bdf: BDF.none,
                        isHotplugged: false, vectorCount: family.pfVectorCount,
                        queueLimit: family.queueLimit,
                        queueSizeLimit: family.queueSizeLimit), pci: family.pci)
                nextPF += 1
                let parent = functions.count
                pf.vfs = (parent + 1)..<(parent + 1 + family.vfCount)
                functions.append(pf)
                for vfIndex in 0..<family.vfCount {
                    functions.append(vf(vfIndex, of: parent, vhcaID: nextVF, family))
                    nextVF += 1
                }
            }
        }
    }

    private func vf(
        _ index: Int, of parent: Int, vhcaID: Int, _ family: CardConfiguration.Family
    ) -> CardFunction {
        let pf = functions[parent].identity
        var vf = CardFunction(
            FunctionIdentity(
                kind: pf.kind, vuid: "\(pf.vuid)VF\(index + 1)", vhcaID: vhcaID,
                pfIndex: pf.pfIndex, vfIndex: index, bdf: BDF.none, isHotplugged: false,
                vectorCount: family.vfVectorCount, queueLimit: family.queueLimit,
                queueSizeLimit: family.queueSizeLimit),
            pci: family.pci)
        vf.parent = parent
        vf.isEnabled = false
        return vf
    }

    mutating func reindex() {
        indexes = Dictionary(
            uniqueKeysWithValues: functions.enumerated().map { ($1.vuid, $0) })
    }

    // --- finding functions ---

    public func contains(_ vuid: String) -> Bool { indexes[vuid] != nil }

    /// ENODEV: there is no such function.
    public func function(_ vuid: String) throws(HardwareError) -> CardFunction {
        functions[try index(vuid)]
    }

    func index(_ vuid: String) throws(HardwareError) -> Int {
        guard let index = indexes[vuid] else {
            throw HardwareError(
                ErrorNumber.noDevice,
                "function \(vuid) does not exist; emulation_function_list --all shows those that do"
            )
        }
        return index
    }

    public func listing(_ vuid: String) throws(HardwareError) -> FunctionListing {
        listing(of: functions[try index(vuid)])
    }

    public func listing(of function: CardFunction) -> FunctionListing {
        var listing = FunctionListing(
            identity: function.identity, controller: function.controller, hostSocketPath: nil,
            isHostConnected: function.isHostConnected)
        listing.hotplugState = function.hotplug
        listing.isEnabled = function.isEnabled
        listing.isDriverBound = function.isDriverBound
        if !function.vfs.isEmpty { listing.freeVectorCount = function.freeVectorCount }
        listing.enabledVFCount = function.enabledVFCount
        listing.vectorRange = vectorRange(function)
        return listing
    }

    // --- who drives and who uses a function ---

    /// Sets or clears the controller that holds the function's lease.
    public mutating func setController(_ name: String?, of vuid: String) {
        guard let index = indexes[vuid] else { return }
        functions[index].controller = name
        if name != nil && functions[index].isVisible && isHostOn && autoprobes {
            functions[index].isDriverBound = true
        }
    }

    /// A virtual machine has connected to the function's socket: it is the host now, and the
    /// built-in host's driver is out of the way.
    public mutating func hostConnected(_ vuid: String) {
        guard let index = indexes[vuid] else { return }
        functions[index].isHostConnected = true
        functions[index].isDriverBound = false
    }

    /// The connected machine's driver has started queues, or stopped the last.
    public mutating func machineDriver(of vuid: String, isRunning: Bool) {
        guard let index = indexes[vuid], functions[index].isHostConnected else { return }
        functions[index].isDriverBound = isRunning
    }

    /// Whether a controller may give its lease back now.
    public func checkClose(_ vuid: String, force: Bool) throws(HardwareError) {
        let function = try function(vuid)
        let open = functions[function.vfs].first { $0.controller != nil }
        if let open, !force {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) has VF \(open.vuid) with controller "
                    + "\"\(open.controller ?? "")\"; destroy the controllers of the VFs first, or "
                    + "use force")
        }
        if function.isVF && function.isEnabled && !force {
            throw HardwareError(
                ErrorNumber.busy,
                "function \(vuid) is a VF of a host with SR-IOV enabled; set sriov_numvfs to 0 "
                    + "first, or use force")
        }
    }

    /// Whether a controller with so many queues may open the function. What it changes is done by
    /// `assignVectors` and `setController`.
    /// - Parameter vectors: what a VF is to have, when that is asked.
    public func checkOpen(
        _ vuid: String, queueCount: Int, vectors: Int?
    ) throws(HardwareError) {
        let function = try function(vuid)
        if let parent = function.parent, functions[parent].controller == nil {
            throw HardwareError(
                ErrorNumber.invalid,
                "function \(vuid) is a VF of \(functions[parent].vuid), which has no controller; "
                    + "create that one first")
        }
        if let vectors {
            guard function.isVF else {
                throw HardwareError(
                    ErrorNumber.invalid, "vf_num_msix is for VFs; function \(vuid) is a PF")
            }
            if vectors != function.identity.vectorCount { try checkVectors(vectors, for: function) }
        }
        let count = vectors ?? function.identity.vectorCount
        if count == 0 {
            throw HardwareError(
                ErrorNumber.noSpace,
                "function \(vuid) has no MSI-X vectors since they were reclaimed or released; give "
                    + "it some with vf_num_msix (\(freeVectors(of: function)) are free)")
        }
        let limit = min(function.identity.queueLimit, function.identity.kind.queues(of: count))
        guard queueCount <= limit else {
            let use =
                function.identity.kind == .nvme ? "" : ", one of them for configuration changes"
            throw HardwareError(
                ErrorNumber.noSpace,
                "num_queues \(queueCount): function \(vuid) has \(function.identity.queueLimit) "
                    + "queues and \(count) vectors\(use); at most \(limit) fit")
        }
    }
}
