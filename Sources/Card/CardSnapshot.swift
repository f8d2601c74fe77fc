public import Hardware
internal import Platform

/// What of a card outlives the process that keeps it: all that a cold boot would end.
public struct CardSnapshot: Equatable, Sendable {
    /// The VFs of one PF.
    public struct VirtualFunctions: Equatable, Sendable {
        public var pf: String
        public var freeVectorCount: Int
        public var enabledCount: Int
        /// Vectors of each VF.
        public var vectorCounts: [Int]

        public init(pf: String, freeVectorCount: Int, enabledCount: Int, vectorCounts: [Int]) {
            self.pf = pf
            self.freeVectorCount = freeVectorCount
            self.enabledCount = enabledCount
            self.vectorCounts = vectorCounts
        }
    }

    public struct HotplugFunction: Equatable, Sendable {
        public var kind: FunctionIdentity.Kind
        public var slot: Int
        public var pfIndex: Int
        public var vectorCount: Int
        public var state: HotplugState
        public var pci: PCIIdentity

        public init(
            kind: FunctionIdentity.Kind, slot: Int, pfIndex: Int, vectorCount: Int,
            state: HotplugState, pci: PCIIdentity
        ) {
            self.kind = kind
            self.slot = slot
            self.pfIndex = pfIndex
            self.vectorCount = vectorCount
            self.state = state
            self.pci = pci
        }
    }

    public var isHostOn: Bool
    public var virtualFunctions: [VirtualFunctions]
    public var hotplugFunctions: [HotplugFunction]

    public init(
        isHostOn: Bool, virtualFunctions: [VirtualFunctions], hotplugFunctions: [HotplugFunction]
    ) {
        self.isHostOn = isHostOn
        self.virtualFunctions = virtualFunctions
        self.hotplugFunctions = hotplugFunctions
    }
}

extension Card {
    public var snapshot: CardSnapshot {
        CardSnapshot(
            isHostOn: isHostOn,
            virtualFunctions: functions.filter { !$0.vfs.isEmpty }.map { pf in
                CardSnapshot.VirtualFunctions(
                    pf: pf.vuid, freeVectorCount: pf.freeVectorCount,
                    enabledCount: pf.enabledVFCount,
                    vectorCounts: functions[pf.vfs].map(\.identity.vectorCount))
            },
            hotplugFunctions: functions.compactMap { function in
                guard let slot = function.slot, let state = function.hotplug else { return nil }
                return CardSnapshot.HotplugFunction(
                    kind: function.identity.kind, slot: slot, pfIndex: function.identity.pfIndex,
                    vectorCount: function.identity.vectorCount, state: state, pci: function.pci)
            })
    }

    /// The card that `snapshot` was taken of, without controllers and virtual machines: those
    /// come back by themselves. EINVAL: it is of a card with another configuration, or damaged.
    public init(
        _ configuration: CardConfiguration, restoring snapshot: CardSnapshot
    ) throws(HardwareError) {
        self.init(configuration)
        for saved in snapshot.virtualFunctions { try restore(saved) }
        for saved in snapshot.hotplugFunctions { try restore(saved) }
        isHostOn = snapshot.isHostOn
        if isHostOn {
            enumerate()
        } else {
            for index in functions.indices { functions[index].identity.bdf = BDF.none }
        }
    }

    private mutating func restore(
        _ saved: CardSnapshot.VirtualFunctions
    ) throws(HardwareError) {
        let index = try index(saved.pf)
        let pf = functions[index]
        let sum = saved.vectorCounts.reduce(saved.freeVectorCount, +)
        let counts = saved.vectorCounts
        guard counts.count == pf.vfs.count, sum == vectorCapacity(of: pf),
            saved.freeVectorCount >= 0, counts.allSatisfy({ $0 == 0 || $0 >= Self.vectorMinimum }),
            (0...pf.vfs.count).contains(saved.enabledCount)
        else {
            throw HardwareError(
                ErrorNumber.invalid,
                "the saved vectors of function \(saved.pf) do not fit its \(pf.vfs.count) VFs with "
                    + "\(vectorCapacity(of: pf)) vectors")
        }
        functions[index].freeVectorCount = saved.freeVectorCount
        functions[index].enabledVFCount = saved.enabledCount
        for (number, vf) in pf.vfs.enumerated() {
            functions[vf].identity.vectorCount = counts[number]
            functions[vf].isEnabled = number < saved.enabledCount
        }
    }

    private mutating func restore(
        _ saved: CardSnapshot.HotplugFunction
    ) throws(HardwareError) {
        guard (1...max(1, hotplugLimit)).contains(saved.slot), hotplugLimit > 0,
            !functions.contains(where: { $0.slot == saved.slot }),
            (Self.vectorMinimum...Self.vectorMaximum).contains(saved.vectorCount)
        else {
            throw HardwareError(
                ErrorNumber.invalid,
                "the saved hot-plug function in slot \(saved.slot) is not "
                    + "possible on this card")
        }
        var function = hotplugFunction(
            saved.kind, slot: saved.slot, pfIndex: saved.pfIndex, vectorCount: saved.vectorCount,
            saved.pci)
        // A connected machine that was to let go is gone with the process that kept it.
        function.hotplug = saved.state == .unplugging ? .powerOff : saved.state
        insert(function)
    }
}
